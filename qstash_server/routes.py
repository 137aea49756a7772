"""Which handler answers which request. Matching works on the raw path.

A destination stands in the path as it is, with its `//` and percent-escapes: a router that
normalises paths would change the URL that is called, and signed.
"""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from qstash_server.api import (
    dlq,
    events,
    flow_control,
    keys,
    messages,
    publish,
    queues,
    schedules,
    url_groups,
)
from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import BadRequest, MethodNotAllowed, NotFound
from qstash_server.page import data, files, session

Handler = Callable[..., Awaitable[Answer]]


def _route(
    methods: str, pattern: str, handler: Handler
) -> tuple[frozenset[str], re.Pattern[str], Handler]:
    """`{name}` matches one segment of the path, `{name*}` all that is left of it."""
    regex = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+)", pattern)
    regex = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", regex)
    return frozenset(methods.split()), re.compile(regex), handler


# The Python SDK and the OpenAPI description disagree on some methods and paths; both work here.
_ROUTES = (
    _route("POST", "/v2/publish/{destination*}", publish.publish),
    _route("POST", "/v2/enqueue/{queue}/{destination*}", publish.enqueue),
    _route("POST", "/v2/batch", publish.batch),
    _route("GET", "/v2/messages/{message_id}", messages.get),
    _route("DELETE", "/v2/messages/{message_id}", messages.cancel),
    _route("POST", "/v2/messages/{message_id}/retry", messages.retry),
    _route("DELETE", "/v2/messages", messages.cancel_many),
    _route("GET", "/v2/schedules", schedules.list_all),
    _route("PATCH POST", "/v2/schedules/{schedule_id}/pause", schedules.pause),
    _route("PATCH POST", "/v2/schedules/{schedule_id}/resume", schedules.resume),
    _route("GET", "/v2/schedules/{schedule_id}", schedules.get),
    _route("DELETE", "/v2/schedules/{schedule_id}", schedules.delete),
    _route("POST", "/v2/schedules/{destination*}", schedules.create),
    _route("GET", "/v2/events", events.list_events),
    _route("GET", "/v2/logs", events.list_logs),
    _route("GET", "/v2/dlq", dlq.list_all),
    _route("DELETE", "/v2/dlq", dlq.delete_many),
    _route("POST", "/v2/dlq/retry", dlq.retry_many),
    _route("POST", "/v2/dlq/retry/{dlq_id}", dlq.retry),
    _route("GET", "/v2/dlq/{dlq_id}", dlq.get),
    _route("DELETE", "/v2/dlq/{dlq_id}", dlq.delete),
    _route("GET", "/v2/queues", queues.list_all),
    _route("POST", "/v2/queues", queues.upsert),
    _route("POST", "/v2/queues/", queues.upsert),  # The documentation's curl has the slash.
    _route("GET", "/v2/queues/{name}", queues.get),
    _route("DELETE", "/v2/queues/{name}", queues.delete),
    _route("POST PATCH", "/v2/queues/{name}/pause", queues.pause),
    _route("POST PATCH", "/v2/queues/{name}/resume", queues.resume),
    _route("GET", "/v2/topics", url_groups.list_all),
    _route("GET", "/v2/topics/{name}", url_groups.get),
    _route("PATCH", "/v2/topics/{name}", url_groups.set_headers),
    _route("DELETE", "/v2/topics/{name}", url_groups.delete),
    _route("POST", "/v2/topics/{name}/endpoints", url_groups.upsert_endpoints),
    _route("DELETE", "/v2/topics/{name}/endpoints", url_groups.remove_endpoints),
    _route("GET", "/v2/flowControl", flow_control.search),
    _route("GET", "/v2/flowControl/{key}", flow_control.get),
    _route("POST", "/v2/flowControl/{key}/pause", flow_control.pause),
    _route("POST", "/v2/flowControl/{key}/resume", flow_control.resume),
    _route("POST", "/v2/flowControl/{key}/pin", flow_control.pin),
    _route("POST", "/v2/flowControl/{key}/unpin", flow_control.unpin),
    _route("POST", "/v2/flowControl/{key}/resetRate", flow_control.reset_rate),
    _route("POST", "/v2/flowControl/{key}/reset", flow_control.reset_rate),
    _route("GET", "/v2/globalParallelism", flow_control.get_global_parallelism),
    _route("GET", "/v2/keys", keys.get),
    _route("POST", "/v2/keys/rotate", keys.rotate),
    # The page. Who has logged in to it may do what stands here, and nothing else.
    *(_route("GET HEAD", re.escape(path), files.get) for path in files.PATHS),
    _route("GET", "/page/data", data.get),
    _route("GET", "/page/session", session.get),
    _route("POST", "/page/session", session.log_in),
    _route("DELETE", "/page/session", session.log_out),
    _route("DELETE", "/page/messages/{message_id}", messages.cancel),
    _route("POST", "/page/messages/{message_id}/retry", messages.retry),
    _route("POST", "/page/schedules/{schedule_id}/pause", schedules.pause),
    _route("POST", "/page/schedules/{schedule_id}/resume", schedules.resume),
    _route("GET", "/page/dlq/{dlq_id}", dlq.get),
    _route("DELETE", "/page/dlq/{dlq_id}", dlq.delete),
    _route("POST", "/page/dlq/{dlq_id}/retry", dlq.retry),
)


async def dispatch(broker: Broker, call: Call) -> Answer:
    """Answer a request that is allowed to be here. Raises ApiError."""
    allowed: set[str] = set()
    for methods, pattern, handler in _ROUTES:
        match = pattern.fullmatch(call.path)
        if match is None:
            continue
        if call.method in methods:
            return await handler(broker, call, **_arguments(match))
        allowed |= methods
    if allowed:
        raise MethodNotAllowed(f"{call.method} is not allowed here: {', '.join(sorted(allowed))}")
    raise _no_such_path(call.path)


def _arguments(match: re.Match[str]) -> dict[str, str]:
    """Return the named parts of the path, decoded, but for the destination."""
    return {
        name: value if name == "destination" else unquote(value)
        for name, value in match.groupdict().items()
    }


def _no_such_path(path: str) -> BadRequest | NotFound:
    segments = path.split("/")
    noun = segments[2] if len(segments) > 2 and segments[1] == "v2" else ""
    if noun and path.endswith("/"):
        # QStash takes DELETE /v2/messages/ for "cancel everything": an empty id in a client's
        # variable would do that here too, so it is refused.
        return BadRequest(f"the id after {path} is empty")
    return NotFound(f"no such path: {path}")
