"""The configuration of a publish request: `Upstash-*` headers, or the same as query parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from qstash_server.envelope import (
    DEFAULT_RETRIES,
    Callback,
    Envelope,
    Headers,
    canonical_name,
    check_header,
)
from qstash_server.errors import BadRequest
from qstash_server.flow_control import parse_flow_control
from qstash_server.parsing.destination import parse_url
from qstash_server.parsing.durations import LONGEST_S, parse_duration_s
from qstash_server.parsing.retry_delay import parse_retry_delay
from qstash_server.url_group import check_name

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_RETRIES = 10_000
_PREFIX = "upstash-"
# How an option that forwards a header begins, and what the header is forwarded to.
_FORWARDS = {
    "forward-": "message",
    "callback-forward-": "callback",
    "failure-callback-forward-": "failure-callback",
}

# These describe one connection or are set by whoever sends (RFC 9110, 7.6.1): forwarding them would
# let a caller frame a request of its own inside ours.
CONNECTION_HEADERS = frozenset(
    "connection content-length host keep-alive proxy-authenticate proxy-authorization "
    "proxy-connection te trailer transfer-encoding upgrade expect".split()
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Every option of one request, by its name in lower case without `upstash-`.

    forwarded: the headers to pass on, to "message", "callback" and "failure-callback".
    plain: all other headers of the request, for `Upstash-Header-Forward`.
    """

    values: dict[str, str] = field(default_factory=dict)
    forwarded: dict[str, Headers] = field(default_factory=dict)
    plain: Headers = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """Return the option without the blanks around it; None when absent or empty."""
        return self.values.get(name, "").strip() or None

    def flag(self, name: str) -> bool:
        # The Python SDK sends "True" and "False", others the lower case.
        text = (self.get(name) or "false").lower()
        if text not in ("true", "false", "1", "0"):
            raise BadRequest(f"invalid Upstash-{canonical_name(name)} {text!r}: true or false")
        return text in ("true", "1")

    def count(self, name: str) -> int | None:
        text = self.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= MAX_RETRIES):
            raise BadRequest(
                f"invalid Upstash-{canonical_name(name)} {text!r}: "
                f"a whole number from 0 to {MAX_RETRIES}"
            )
        return int(text)

    def duration_s(self, name: str) -> int | None:
        text = self.get(name)
        return (
            None if text is None else parse_duration_s(text, what=f"Upstash-{canonical_name(name)}")
        )

    def expression(self, name: str) -> str | None:
        text = self.get(name)
        if text is not None:
            parse_retry_delay(text)
        return text

    def method(self, name: str) -> str | None:
        text = self.get(name)
        if text is not None and text.upper() not in METHODS:
            raise BadRequest(f"invalid method {text!r}: one of {', '.join(METHODS)}")
        return text and text.upper()

    def items(self, name: str) -> tuple[str, ...] | None:
        text = self.get(name)
        if text is None:
            return None
        return tuple(item.strip() for item in text.split(",") if item.strip())


def read_options(
    headers: Iterable[tuple[str, str]], query: Iterable[tuple[str, str]] = ()
) -> Options:
    """Sort the headers of a request, and those that came as query parameters, by what they mean.

    A header wins over the query parameter of the same name. Raises BadRequest for a header that
    could not be passed on.
    """
    options = Options()
    in_query = [(name, value) for name, value in query if name.lower().startswith(_PREFIX)]
    for name, value in [*in_query, *headers]:
        check_header(name, value)
        lower = name.lower()
        if not lower.startswith(_PREFIX):
            options.plain.setdefault(canonical_name(lower), []).append(value)
            continue
        option = lower.removeprefix(_PREFIX)
        kind = next((kind for kind in _FORWARDS if option.startswith(kind)), None)
        if kind is not None:
            _forward(options, _FORWARDS[kind], option.removeprefix(kind), value)
        else:
            options.values[option] = value
    return options


def _forward(options: Options, kind: str, name: str, value: str) -> None:
    check_header(name, value)
    if name in CONNECTION_HEADERS:
        raise BadRequest(f"header {name} cannot be forwarded: it belongs to the connection")
    options.forwarded.setdefault(kind, {}).setdefault(canonical_name(name), []).append(value)


def read_envelope(
    options: Options,
    *,
    url: str,
    body: bytes,
    caller_ip: str,
    queue: str | None = None,
    base: Envelope | None = None,
) -> Envelope:
    """Return what the options ask for; what they do not mention is as in `base`, or the default.

    queue: the one named elsewhere in the request; it wins over `Upstash-Queue-Name`.
    """
    retries = options.count("retries")
    if retries is None:
        retries = base.retries if base else DEFAULT_RETRIES
    own_headers = _delivery_headers(options)
    labels = options.items("label")
    redact = options.items("redact-fields")
    queue = queue or options.get("queue-name") or (base.queue if base else None)
    flow = parse_flow_control(options.get("flow-control-key"), options.get("flow-control-value"))
    return Envelope(
        url=url,
        method=options.method("method") or (base.method if base else "POST"),
        headers={**base.headers, **own_headers} if base else own_headers,
        body=body,
        retries=retries,
        retry_delay=options.expression("retry-delay") or (base.retry_delay if base else None),
        timeout_s=options.duration_s("timeout") or (base.timeout_s if base else None),
        callback=_callback(options, "callback") or (base.callback if base else None),
        failure_callback=_callback(options, "failure-callback")
        or (base.failure_callback if base else None),
        labels=(base.labels if base else ()) if labels is None else labels,
        redact=(base.redact if base else ()) if redact is None else _redact(redact),
        caller_ip=caller_ip,
        queue=queue and check_name(queue, what="queue"),
        flow=flow or (base.flow if base else None),
    )


def _delivery_headers(options: Options) -> Headers:
    headers: Headers = {}
    if options.flag("header-forward"):
        # The Authorization header of this request is the token of the server: it stays here.
        hidden = CONNECTION_HEADERS | {"authorization", "accept-encoding", "user-agent"}
        headers = {k: v for k, v in options.plain.items() if k.lower() not in hidden}
    elif "Content-Type" in options.plain:
        headers = {"Content-Type": options.plain["Content-Type"]}
    return {**headers, **options.forwarded.get("message", {})}


def _callback(options: Options, kind: str) -> Callback | None:
    text = options.get(kind)
    if text is None:
        return None
    if options.get(f"{kind}-delay"):
        raise BadRequest(f"Upstash-{canonical_name(kind)}-Delay: callbacks cannot be delayed")
    return Callback(
        url=parse_url(text, what=f"invalid {kind} url: "),
        method=options.method(f"{kind}-method") or "POST",
        headers=options.forwarded.get(kind, {}),
        retries=options.count(f"{kind}-retries"),
        retry_delay=options.expression(f"{kind}-retry-delay"),
        timeout_s=options.duration_s(f"{kind}-timeout"),
    )


def _redact(items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        lower = item.lower()
        if lower not in ("body", "header", "headers") and not (
            lower.startswith(("header[", "headers[")) and lower.endswith("]")
        ):
            raise BadRequest(
                f"invalid Upstash-Redact-Fields item {item!r}: body, header[Name], header"
            )
    return tuple(
        item.lower().replace("headers", "header", 1)
        if item.lower().startswith("headers")
        else item.lower()
        for item in items
    )


def read_due_ms(options: Options, now_ms: int) -> int:
    """Return when a message goes out: `Upstash-Not-Before` (Unix seconds) wins over the delay."""
    text = options.get("not-before")
    if text is None:
        return now_ms + (options.duration_s("delay") or 0) * 1000
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"invalid Upstash-Not-Before {text!r}: Unix time in whole seconds")
    due_ms = int(text) * 1000
    if due_ms > now_ms + LONGEST_S * 1000:
        raise BadRequest(
            f"invalid Upstash-Not-Before {text!r}: more than a hundred years ahead; "
            "it is Unix time in seconds, not milliseconds"
        )
    return max(due_ms, now_ms)
