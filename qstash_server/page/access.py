"""Who may use the page, and what its answers tell the browser to refuse."""

from qstash_server.call import Call, header_value
from qstash_server.errors import Forbidden, Unauthorized
from qstash_server.page import files, session
from qstash_server.settings import Settings

_REQUESTED_WITH = "qstash-page"
HEADERS = {
    # The URLs, labels and errors on the page come from strangers. Should one of them ever be taken
    # for markup, it still runs nothing, loads nothing and sends nothing anywhere.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_page(path: str) -> bool:
    """Whether a path belongs to the page, and so is not asked for with the API's token."""
    return path in files.PATHS or path.startswith("/page/")


def check_access(call: Call, settings: Settings, now_ms: int) -> None:
    """Refuse a call to the page that its own script has not made, or nobody has logged in for.

    `gate.check_site` has looked at it before. Raises Forbidden or Unauthorized.
    """
    if call.path in files.PATHS:
        return
    # Another site's page cannot add a header of its own: the browser would ask here first, with a
    # request that is never granted. So this holds also for browsers that send no Sec-Fetch-Site.
    if header_value(call.headers, "x-requested-with") != _REQUESTED_WITH:
        raise Forbidden(f"this path is for the page only (X-Requested-With: {_REQUESTED_WITH})")
    if call.path != session.PATH and not session.is_valid(call, settings, now_ms):
        raise Unauthorized("unauthorized: log in to the page")
