"""Why an item is in a list, in a few words."""

from recommendations.lists import Kind

#: What a user did, as the reason says it.
VERBS = {
    "view": "read",
    "click": "read",
    "like": "liked",
    "share": "shared",
    "save": "saved",
    "purchase": "bought",
}


def reason_text(kind: Kind, *, topic: str, title: str, action: str) -> str:
    """topic: the item's, "" for none. title, action: of the own item that is the reason."""
    if kind == "because":
        return f"because you {VERBS[action]} {title}" if action in VERBS else f"because of {title}"
    if kind == "popular":
        return "popular"
    return f"{kind} in {topic}" if topic else kind
