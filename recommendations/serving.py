"""A recommendation: the kept list, else one made from the embedding, else what is trending.

Whatever list it is, what may not come back is looked up when it is served: what the user has seen
or dismissed, what is hidden, what has expired.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from recommendations import candidates, cold_start, lists, personal, versions
from recommendations.candidates import NEW, NEW_FOR_DAYS
from recommendations.cold_start import Leader
from recommendations.core.arranging import Shares, arrange
from recommendations.lists import CachedList, Kind, Listed
from recommendations.models import ContentItem, UserAction
from recommendations.readers import Reader, find_reader
from recommendations.reasons import reason_text

DEFAULT_LIMIT = 20
MOST_ENTRIES = 100
# Of lists for everybody so many more are looked up than are asked for: some were seen, and a topic
# may be full. What is still missing comes from the whole catalogue.
SPARE = 100
# Each try loses to a switch of the version that happened at the same instant.
TRIES = 3

Source = Literal["cache", "computed", "trending", "popular"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Who wants how many of what. user_id: "" for somebody unknown. topic: "" for any."""

    user_id: str = ""
    limit: int = DEFAULT_LIMIT
    topic: str = ""
    exclude: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """score: comparable within one answer alone, and among entries of one kind of reason."""

    item_id: str
    title: str
    topics: list[str]
    score: float
    reason: str
    reason_kind: Kind


@dataclass(frozen=True, kw_only=True)
class Answer:
    """source: where the list comes from. age_s: how long ago it, or the counts behind it, were made.

    because: in words, why the list is not personal; "" where it is.
    """

    user_id: str
    source: Source
    age_s: float
    personal: bool
    because: str
    version: int | None
    items: list[Entry]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Content(NamedTuple):
    """What is shown of an item."""

    title: str
    topics: list[str]


def recommend(wish: Wish) -> Answer:
    """The list for a user; it is empty only where nothing may be listed at all."""
    for _ in range(TRIES):
        reader = find_reader(wish.user_id)
        if not reader.is_personal:
            return _for_everybody(reader, wish, because=reader.why_not_personal)
        answer = _personal(reader, wish)
        if answer is not None:
            return answer
    because = "What was learned is being replaced right now."
    return _for_everybody(reader, wish, because=because)


def trending(wish: Wish) -> Answer:
    """What is trending, for everybody; who asks has no name here, so nothing counts as seen."""
    return _for_everybody(find_reader(""), wish, because="This is the list for everybody.")


# --- Personal lists -------------------------------------------------------------------------------


def _personal(reader: Reader, wish: Wish) -> Answer | None:
    """None when the version was replaced meanwhile, and the reader has to be looked up again."""
    kept = _kept(reader)
    source: Source = "cache" if kept else "computed"
    made = kept or _make(reader)
    if made is None:
        return None
    content = find_content([entry.item_id for entry in made.entries], wish)
    if wish.topic and len(content) < wish.limit:
        # The best of everything may hold few of this topic, so its own best are looked for.
        made, source = _make(reader, topic=wish.topic), "computed"
        if made is None:
            return None
        content = find_content([entry.item_id for entry in made.entries], wish)
    ranked = [entry for entry in made.entries if entry.item_id in content]
    chosen = _compose(ranked, _new_for(reader, wish), content, wish, reader.shares)
    return Answer(
        user_id=wish.user_id,
        source=source,
        age_s=round(made.age_s, 1),
        personal=True,
        because="",
        version=reader.version_id,
        items=_entries(chosen, content, wish),
    )


def _kept(reader: Reader) -> CachedList | None:
    """The list in Valkey, unless the user's vector or the version changed since."""
    made = lists.read(reader.user_id)
    embedding = reader.embedding
    if made is not None and embedding is not None:
        is_older = made.made_at < embedding.updated_at.timestamp()
        made = None if is_older or made.version_id != reader.version_id else made
    lists.count(hit=made is not None)
    return made


def _make(reader: Reader, *, topic: str = "") -> CachedList | None:
    """Make the list now, and keep it when it is the whole one."""
    version = versions.active()
    if version is None or version.version_id != reader.version_id or reader.embedding is None:
        return None
    person = personal.look_at(reader.user_id, reader.embedding, version)
    entries = personal.make_list(person, topic=topic)
    made = CachedList.now(version.version_id, entries)
    if not topic:
        lists.write(reader.user_id, made)
    return made


def _new_for(reader: Reader, wish: Wish) -> list[Listed]:
    """New items for the kept places, those that the user may like first."""
    if not any(reader.shares.reserves(place) for place in range(1, wish.limit + 1)):
        return []
    if not reader.is_personal or reader.embedding is None or reader.version_id is None:
        leaders = _from_catalogue(wish, limit=NEW, days=NEW_FOR_DAYS)
        return [Listed(leader.item_id, leader.trending, "new") for leader in leaders]
    found = candidates.new(
        wish.user_id, reader.embedding, reader.version_id, reader.parameters, topic=wish.topic
    )
    return [
        Listed(each.item_id, each.score, "new")
        for each in found
        if each.item_id not in wish.exclude
    ]


# --- Lists for everybody --------------------------------------------------------------------------


def _for_everybody(reader: Reader, wish: Wish, *, because: str) -> Answer:
    leaders = cold_start.read(wish.topic)
    first = [leader for leader in leaders.entries if leader.item_id not in wish.exclude]
    first = first[: wish.limit + SPARE]
    content = find_content([leader.item_id for leader in first], wish)
    ranked = [leader.listed() for leader in first if leader.item_id in content]
    chosen = _compose(ranked, _new_for(reader, wish), content, wish, reader.shares)
    is_trending = any(entry.kind == "trending" for entry in chosen)
    return Answer(
        user_id=wish.user_id,
        source="trending" if is_trending else "popular",
        age_s=round(leaders.age_s, 1),
        personal=False,
        because=because,
        version=reader.version_id,
        items=_entries(chosen, content, wish),
    )


def _from_catalogue(
    wish: Wish, *, limit: int, days: int = 0, without: Iterable[str] = ()
) -> list[Leader]:
    return cold_start.from_catalogue(
        limit=limit,
        topic=wish.topic,
        user_id=wish.user_id,
        without=wish.exclude.union(without),
        days=days,
    )


# --- What both have in common ---------------------------------------------------------------------


def find_content(item_ids: Collection[str], wish: Wish) -> dict[str, Content]:
    """Those of the items that may come back to the user, by id. One query."""
    if not item_ids:
        return {}
    allowed = ContentItem.objects.listable().filter(external_id__in=set(item_ids) - wish.exclude)
    if wish.user_id:
        seen = UserAction.objects.filter(user_id=wish.user_id)
        allowed = allowed.exclude(external_id__in=seen.values("item_id"))
    if wish.topic:
        allowed = allowed.filter(topics__contains=[wish.topic])
    rows = allowed.order_by().values_list("external_id", "title", "topics")
    return {item_id: Content(title, topics) for item_id, title, topics in rows}


def _compose(
    ranked: list[Listed],
    new: list[Listed],
    content: dict[str, Content],
    wish: Wish,
    shares: Shares,
) -> list[Listed]:
    """Arrange what may be shown. What is looked up on the way is added to content."""
    entries = _by_id(ranked, new)
    content.update(find_content([entry.item_id for entry in new], wish))
    chosen = _arrange(ranked, new, content, wish, shares)
    if len(chosen) < wish.limit:
        leaders = _from_catalogue(wish, limit=wish.limit + SPARE, without=entries)
        content.update(find_content([leader.item_id for leader in leaders], wish))
        ranked = [*ranked, *(leader.listed() for leader in leaders)]
        entries = _by_id(ranked, new)
        chosen = _arrange(ranked, new, content, wish, shares)
    if len(chosen) < wish.limit:
        # There is nothing else, and a full topic is better than a short list.
        known = set(content).difference(chosen)
        rest = [entry.item_id for entry in ranked if entry.item_id in known]
        chosen = [*chosen, *rest[: wish.limit - len(chosen)]]
    return [entries[item_id] for item_id in chosen]


def _by_id(ranked: Sequence[Listed], new: Sequence[Listed]) -> dict[str, Listed]:
    """Of an item that is in both, being new is the better reason unless taste speaks for it."""
    taste = [entry for entry in ranked if entry.kind == "because"]
    return {entry.item_id: entry for entry in [*ranked, *new, *taste]}


def _arrange(
    ranked: Sequence[Listed],
    new: Sequence[Listed],
    content: Mapping[str, Content],
    wish: Wish,
    shares: Shares,
) -> list[str]:
    def topics_of(item_id: str) -> Collection[str]:
        # Who asks for a topic wants the list to be of it.
        return () if wish.topic else content[item_id].topics

    return arrange(
        [entry.item_id for entry in ranked if entry.item_id in content],
        [entry.item_id for entry in new if entry.item_id in content],
        limit=wish.limit,
        shares=shares,
        topics_of=topics_of,
    )


def _entries(chosen: Sequence[Listed], content: Mapping[str, Content], wish: Wish) -> list[Entry]:
    titles = titles_of({entry.because_of for entry in chosen if entry.because_of})
    return [
        Entry(
            item_id=entry.item_id,
            title=content[entry.item_id].title,
            topics=content[entry.item_id].topics,
            score=round(entry.score, 4),
            reason=reason_text(
                entry.kind,
                topic=wish.topic or next(iter(content[entry.item_id].topics), ""),
                title=titles.get(entry.because_of, entry.because_of),
                action=entry.action,
            ),
            reason_kind=entry.kind,
        )
        for entry in chosen
    ]


def titles_of(item_ids: Collection[str]) -> dict[str, str]:
    """By id; an item that is not known here has none."""
    if not item_ids:
        return {}
    items = ContentItem.objects.filter(external_id__in=item_ids)
    return dict(items.values_list("external_id", "title"))
