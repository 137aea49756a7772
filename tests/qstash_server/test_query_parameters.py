"""Every option may come as a query parameter, which then reaches no destination."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.qstash_server.running import Delivery, Reply, Running, Sink

OWN_QUERY = "own=1&x=a%2Fb"
FAILS = Reply(status=500, headers={"X-R": "1"})


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What became of a message that was published with some options in its query."""

    server: Running
    sink: Sink
    path: str
    answer: dict[str, Any]

    @property
    def deliveries(self) -> list[Delivery]:
        return self.sink.to("/x")

    @property
    def message(self) -> dict[str, Any]:
        answer = self.server.request("GET", f"/v2/messages/{self.answer['messageId']}").json
        assert isinstance(answer, dict)
        return answer

    @property
    def attempts(self) -> int:
        self.server.settle()
        return len(self.deliveries)

    def attempts_after(self, seconds: float) -> int:
        self.server.advance(seconds)
        return len(self.deliveries)

    def again(self) -> int:
        """Publish the same once more and return the status."""
        return self.server.request("POST", self.path, "x", {"X-Plain": "p"}, token="").status

    @property
    def reports(self) -> list[Delivery]:
        return self.sink.to("/report")


# Option, value ({report} is a URL of the sink, {in_30_s} a Unix time), options needed beside it,
# what the destination answers, and what shows the effect.
Effect = Callable[[Scene], bool]
OK = Reply()
CALLBACK = {"upstash-callback": "{report}"}
FAILURE = {"upstash-failure-callback": "{report}", "upstash-retries": "0"}


def callback_cases(kind: str, beside: dict[str, str]) -> list[Any]:
    """The options of a callback, which are those of a failure callback too."""
    return [
        (
            f"upstash-{kind}",
            "{report}",
            {"upstash-retries": "0"},
            FAILS,
            lambda s: len(s.reports) == 1,
        ),
        (f"upstash-{kind}-method", "PUT", beside, FAILS, lambda s: s.reports[0].method == "PUT"),
        (
            f"upstash-{kind}-forward-x-c",
            "c",
            beside,
            FAILS,
            lambda s: s.reports[0].headers["X-C"] == "c",
        ),
        (f"upstash-{kind}-retries", "7", beside, FAILS, lambda s: report_of(s)["maxRetries"] == 7),
        (
            f"upstash-{kind}-retry-delay",
            "7000",
            beside,
            FAILS,
            lambda s: report_of(s)["retryDelayExpression"] == "7000",
        ),
        (
            f"upstash-{kind}-timeout",
            "7s",
            beside,
            FAILS,
            lambda s: events_of_report(s)[0]["timeout"] == 7000,
        ),
    ]


def report_of(scene: Scene) -> dict[str, Any]:
    message_id = scene.reports[0].headers["Upstash-Message-Id"]
    answer = scene.server.request("GET", f"/v2/messages/{message_id}").json
    assert isinstance(answer, dict)
    return answer


def events_of_report(scene: Scene) -> list[dict[str, Any]]:
    message_id = scene.reports[0].headers["Upstash-Message-Id"]
    events = scene.server.request("GET", f"/v2/events?messageId={message_id}").json["events"]
    assert isinstance(events, list)
    return events


CASES: list[tuple[str, str, dict[str, str], Reply, Effect]] = [
    ("upstash-method", "PATCH", {}, OK, lambda s: s.deliveries[0].method == "PATCH"),
    ("upstash-forward-x-a", "a b", {}, OK, lambda s: s.deliveries[0].headers["X-A"] == "a b"),
    ("upstash-header-forward", "true", {}, OK, lambda s: s.deliveries[0].headers["X-Plain"] == "p"),
    ("upstash-retries", "0", {}, FAILS, lambda s: s.attempts_after(86_400) == 1),
    (
        "upstash-retry-delay",
        "1000 * (2 + retried)",
        {},
        FAILS,
        lambda s: (s.attempts_after(1), s.attempts_after(1)) == (1, 2),
    ),
    (
        "upstash-delay",
        "1m",
        {},
        OK,
        lambda s: (s.attempts, s.attempts_after(59), s.attempts_after(1)) == (0, 0, 1),
    ),
    (
        "upstash-not-before",
        "{in_30_s}",
        {},
        OK,
        lambda s: (s.attempts, s.attempts_after(29), s.attempts_after(1)) == (0, 0, 1),
    ),
    ("upstash-timeout", "7s", {}, OK, lambda s: events_of(s)[0]["timeout"] == 7000),
    ("upstash-deduplication-id", "d", {}, OK, lambda s: (s.again(), s.attempts) == (202, 1)),
    (
        "upstash-content-based-deduplication",
        "True",
        {},
        OK,
        lambda s: (s.again(), s.attempts) == (202, 1),
    ),
    ("upstash-flow-control-key", "f", {}, OK, lambda s: s.message["flowControlKey"] == "f"),
    (
        "upstash-flow-control-value",
        "parallelism=3, rate=4, period=2m",
        {"upstash-flow-control-key": "f"},
        OK,
        lambda s: [s.message[k] for k in ("parallelism", "rate", "period")] == [3, 4, 120],
    ),
    ("upstash-label", "a,b", {}, OK, lambda s: s.message["labels"] == ["a", "b"]),
    ("upstash-redact-fields", "body", {}, OK, lambda s: s.message["body"].startswith("REDACTED:")),
    ("upstash-queue-name", "q", {}, OK, lambda s: s.message["queueName"] == "q"),
    *callback_cases("callback", CALLBACK | {"upstash-retries": "0"}),
    *callback_cases("failure-callback", FAILURE),
]


def events_of(scene: Scene) -> list[dict[str, Any]]:
    message_id = scene.answer["messageId"]
    events = scene.server.request("GET", f"/v2/events?messageId={message_id}").json["events"]
    assert isinstance(events, list)
    return events


def query_of(server: Running, sink: Sink, options: dict[str, str]) -> str:
    filled = {
        name: value.format(report=sink.url + "/report", in_30_s=server.clock.now_ms() // 1000 + 30)
        for name, value in options.items()
    }
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in filled.items())


def check_no_option_was_called(server: Running, sink: Sink) -> None:
    """The destination sees its own query alone, and the signature is for that URL."""
    for delivery in sink.to("/x"):
        assert delivery.target == f"/x?{OWN_QUERY}"
        claims = delivery.headers["Upstash-Signature"].split(".")[1]
        signed = json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"]
        assert signed == f"{sink.url}/x?{OWN_QUERY}"
    log = server.request("GET", "/v2/events").text
    assert "qstash_token" not in log
    assert server.token not in log


@pytest.mark.parametrize(
    ("option", "value", "beside", "reply", "effect"), CASES, ids=[case[0] for case in CASES]
)
def test_option_in_the_query_has_its_effect_and_reaches_no_destination(
    server: Running,
    sink: Sink,
    option: str,
    value: str,
    beside: dict[str, str],
    reply: Reply,
    effect: Effect,
) -> None:
    sink.reply("/x", reply)
    query = query_of(
        server, sink, {option: value} | {k: v for k, v in beside.items() if k != option}
    )
    # The token at the very front and the options around the destination's own query.
    path = f"/v2/publish/{sink.url}/x?qstash_token={quote(server.token)}&own=1&{query}&x=a%2Fb"
    answer = server.request("POST", path, "x", {"X-Plain": "p"}, token="")
    assert answer.status == 200
    server.settle()
    scene = Scene(server=server, sink=sink, path=path, answer=answer.json)
    assert effect(scene)
    assert sink.to("/x")
    check_no_option_was_called(server, sink)


@pytest.mark.parametrize("name", ["upstash-retries", "Upstash-Retries", "UPSTASH-RETRIES"])
def test_header_wins_over_the_query_and_case_does_not_matter(
    server: Running, sink: Sink, name: str
) -> None:
    path = f"/v2/publish/{sink.url}/x?{OWN_QUERY}&{name}=1"
    plain = server.request("POST", path).json["messageId"]
    both = server.request("POST", path, headers={"Upstash-Retries": "2"}).json["messageId"]
    assert server.sdk.message.get(plain).max_retries == 1
    assert server.sdk.message.get(both).max_retries == 2
    server.settle()
    check_no_option_was_called(server, sink)


def test_schedule_takes_its_options_from_the_query(server: Running, sink: Sink) -> None:
    options = {
        "upstash-cron": "CRON_TZ=UTC * * * * *",
        "upstash-schedule-id": "s-1",
        "upstash-queue-name": "q",
        "upstash-delay": "5s",
        "upstash-method": "PUT",
        "upstash-forward-x-a": "a",
        "upstash-label": "l",
    }
    query = query_of(server, sink, options)
    path = f"/v2/schedules/{sink.url}/x?own=1&{query}&x=a%2Fb&qstash_token={quote(server.token)}"
    assert server.request("POST", path, "x", token="").json == {"scheduleId": "s-1"}
    schedule = server.sdk.schedule.get("s-1")
    assert (schedule.cron, schedule.queue) == ("CRON_TZ=UTC * * * * *", "q")
    assert schedule.destination == f"{sink.url}/x?{OWN_QUERY}"
    server.advance(60)
    assert sink.deliveries == []
    server.advance(5)
    [delivery] = sink.to("/x")
    assert (delivery.method, delivery.headers["X-A"]) == ("PUT", "a")
    message_id = delivery.headers["Upstash-Message-Id"]
    message = server.request("GET", f"/v2/messages/{message_id}").json
    assert (message["queueName"], message["label"]) == ("q", "l")
    check_no_option_was_called(server, sink)


def test_enqueue_takes_its_options_from_the_query(server: Running, sink: Sink) -> None:
    path = f"/v2/enqueue/q/{sink.url}/x?{OWN_QUERY}&upstash-retries=1&upstash-queue-name=other"
    message_id = server.request("POST", path).json["messageId"]
    message = server.sdk.message.get(message_id)
    assert (message.queue, message.max_retries) == ("q", 1)
    server.settle()
    check_no_option_was_called(server, sink)
