import base64
import json
from pathlib import Path
from typing import Any

import pytest
from qstash.errors import QStashError
from qstash.message import PublishUrlGroupResponse
from qstash.schedule import ScheduleState

from qstash_server.clock import ManualClock
from tests.qstash_server.running import Delivery, LoopThread, Reply, Running, Sink, settings


def make(server: Running, sink: Sink, *paths: str, name: str = "g") -> list[str]:
    """Make a group with a URL of the sink for each path, named as the path is; return the URLs."""
    urls = [sink.url + path for path in paths]
    server.sdk.url_group.upsert_endpoints(
        name, [{"url": url, "name": url.rpartition("/")[2]} for url in urls]
    )
    return urls


def publish(server: Running, **options: Any) -> list[PublishUrlGroupResponse]:
    """Publish to the group g and return a receipt for each of its URLs."""
    receipts = server.sdk.message.publish(url_group="g", **{"body": "x", **options})
    assert isinstance(receipts, list)
    return receipts


def endpoints(server: Running, name: str = "g") -> list[tuple[str, str | None]]:
    return [(e.url, e.name) for e in server.sdk.url_group.get(name).endpoints]


def set_defaults(server: Running, headers: dict[str, Any]) -> int:
    answer = server.request("PATCH", "/v2/topics/g", json.dumps({"headers": headers}))
    return answer.status


# Groups and their endpoints


def test_group_is_made_by_its_first_endpoints_and_reads_back(server: Running) -> None:
    made_ms = server.clock.now_ms()
    server.sdk.url_group.upsert_endpoints(
        "g", [{"url": "http://a.example/x?y=z"}, {"url": "http://b.example", "name": "b-1"}]
    )
    server.advance(5)
    server.sdk.url_group.upsert_endpoints("g", [{"url": "http://c.example"}])
    group = server.sdk.url_group.get("g")
    assert (group.name, group.created_at, group.updated_at) == ("g", made_ms, made_ms + 5000)
    assert endpoints(server) == [
        ("http://a.example/x?y=z", None),
        ("http://b.example", "b-1"),
        ("http://c.example", None),
    ]


def test_upsert_replaces_by_url_and_by_name(server: Running) -> None:
    upsert = server.sdk.url_group.upsert_endpoints
    upsert("g", [{"url": "http://a.example", "name": "a"}, {"url": "http://b.example"}])
    upsert("g", [{"url": "http://a.example", "name": "renamed"}])
    assert endpoints(server) == [("http://b.example", None), ("http://a.example", "renamed")]
    upsert("g", [{"url": "http://moved.example", "name": "renamed"}])
    assert endpoints(server) == [("http://b.example", None), ("http://moved.example", "renamed")]
    upsert("g", [{"url": "http://b.example", "name": "renamed"}])
    assert endpoints(server) == [("http://b.example", "renamed")]


def test_endpoints_are_removed_by_url_and_by_name(server: Running) -> None:
    server.sdk.url_group.upsert_endpoints(
        "g",
        [
            {"url": "http://a.example", "name": "a"},
            {"url": "http://b.example", "name": "b"},
            {"url": "http://c.example"},
        ],
    )
    server.sdk.url_group.remove_endpoints("g", [{"name": "a"}, {"url": "http://c.example"}])
    assert endpoints(server) == [("http://b.example", "b")]
    server.sdk.url_group.remove_endpoints("g", [{"url": "http://nobody.example"}])
    assert endpoints(server) == [("http://b.example", "b")]


def test_endpoint_is_removed_by_the_spelling_that_it_was_added_with(server: Running) -> None:
    url = "http://bücher.example/ü b#part"
    server.sdk.url_group.upsert_endpoints("g", [{"url": url}, {"url": "http://a.example"}])
    server.sdk.url_group.remove_endpoints("g", [{"url": url}])
    assert endpoints(server) == [("http://a.example", None)]


def test_last_endpoint_takes_the_group_with_it(server: Running) -> None:
    server.sdk.url_group.upsert_endpoints("g", [{"url": "http://a.example", "name": "a"}])
    server.sdk.url_group.remove_endpoints("g", [{"name": "a"}])
    assert server.sdk.url_group.list() == []
    with pytest.raises(QStashError, match="url group 'g' not found"):
        server.sdk.url_group.get("g")


def test_delete_is_fine_twice(server: Running) -> None:
    server.sdk.url_group.upsert_endpoints("g", [{"url": "http://a.example"}])
    for _ in range(2):
        server.sdk.url_group.delete("g")
    assert server.sdk.url_group.list() == []


def test_list_is_a_bare_array_by_name(server: Running) -> None:
    for name in ("b", "_a-", "A.1"):
        server.sdk.url_group.upsert_endpoints(name, [{"url": "http://a.example"}])
    assert [group.name for group in server.sdk.url_group.list()] == ["A.1", "_a-", "b"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v2/topics/nobody", None),
        ("DELETE", "/v2/topics/nobody/endpoints", '{"endpoints": [{"name": "a"}]}'),
        ("PATCH", "/v2/topics/nobody", '{"headers": {"Upstash-Retries": "1"}}'),
        ("POST", "/v2/publish/nobody", "x"),
        ("POST", "/v2/enqueue/q/nobody", "x"),
    ],
)
def test_unknown_group_is_404(server: Running, method: str, path: str, body: str | None) -> None:
    answer = server.request(method, path, body)
    assert (answer.status, answer.json) == (404, {"error": "url group 'nobody' not found"})
    assert server.sdk.queue.list() == []


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("a%20b", {"endpoints": [{"url": "http://a.example"}]}, "invalid url group name 'a b'"),
        ("%C3%BC", {"endpoints": [{"url": "http://a.example"}]}, "invalid url group name"),
        ("x" * 257, {"endpoints": [{"url": "http://a.example"}]}, "invalid url group name"),
        ("g", {"endpoints": [{"url": "a.example"}]}, "invalid endpoint url: endpoint has invalid"),
        ("g", {"endpoints": [{"url": "ftp://a.example"}]}, "add http:// or https://"),
        ("g", {"endpoints": [{"url": "http://"}]}, "endpoint has no host"),
        ("g", {"endpoints": [{"url": 5}]}, "every endpoint has a url"),
        ("g", {"endpoints": [{"name": "a"}]}, "every endpoint has a url"),
        ("g", {"endpoints": [{"url": "http://a.example", "name": "a b"}]}, "invalid endpoint name"),
        ("g", {"endpoints": [{"url": "http://a.example", "name": ""}]}, "invalid endpoint name"),
        (
            "g",
            {"endpoints": [{"url": "http://a.example", "name": 5}]},
            "the name of an endpoint is",
        ),
        ("g", {"endpoints": ["http://a.example"]}, "the body is an object such as"),
        ("g", {"endpoints": []}, "the body is an object such as"),
        ("g", {"endpoint": [{"url": "http://a.example"}]}, "the body is an object such as"),
        ("g", [{"url": "http://a.example"}], "the body is an object such as"),
    ],
)
def test_bad_names_and_urls_are_refused_and_store_nothing(
    server: Running, name: str, body: Any, text: str
) -> None:
    answer = server.request("POST", f"/v2/topics/{name}/endpoints", json.dumps(body))
    assert answer.status == 400
    assert text in answer.json["error"]
    assert server.sdk.url_group.list() == []


def test_one_bad_endpoint_leaves_the_group_as_it_was(server: Running) -> None:
    server.sdk.url_group.upsert_endpoints("g", [{"url": "http://a.example"}])
    with pytest.raises(QStashError):
        server.sdk.url_group.upsert_endpoints("g", [{"url": "http://b.example"}, {"url": "c"}])
    assert endpoints(server) == [("http://a.example", None)]


@pytest.mark.parametrize("body", ["", "[]", '{"endpoints": [{}]}', '{"endpoints": [{"name": 1}]}'])
def test_removal_that_names_nothing_is_refused(server: Running, body: str) -> None:
    server.sdk.url_group.upsert_endpoints("g", [{"url": "http://a.example"}])
    assert server.request("DELETE", "/v2/topics/g/endpoints", body).status == 400
    assert endpoints(server) == [("http://a.example", None)]


# Default headers


def test_defaults_of_a_group_apply_unless_the_request_says_otherwise(
    server: Running, sink: Sink
) -> None:
    make(server, sink, "/a")
    assert set_defaults(server, {"Upstash-Forward-X-A": "g", "upstash-retries": 5}) == 200
    [plain] = publish(server)
    [own] = publish(server, retries=1, headers={"x-a": "own"})
    server.settle()
    assert [d.headers["X-A"] for d in sink.to("/a")] == ["g", "own"]
    assert server.sdk.message.get(plain.message_id).max_retries == 5
    assert server.sdk.message.get(own.message_id).max_retries == 1
    assert set_defaults(server, {"Upstash-Forward-X-B": ["1", "2"]}) == 200
    publish(server)
    server.settle()
    last = sink.to("/a")[-1].headers
    assert "X-A" not in last
    assert last["X-B"] == "1"


def test_query_parameter_of_a_request_wins_over_the_default_of_the_group(
    server: Running, sink: Sink
) -> None:
    make(server, sink, "/a")
    set_defaults(server, {"Upstash-Retries": "5", "Upstash-Forward-X-A": "g"})
    path = "g?upstash-retries=1&upstash-forward-x-a=q"
    [receipt] = server.request("POST", f"/v2/publish/{path}").json
    assert server.sdk.message.get(receipt["messageId"]).max_retries == 1
    server.settle()
    assert sink.to("/a")[0].headers["X-A"] == "q"
    schedule_id = server.request("POST", f"/v2/schedules/{path}&upstash-cron=@daily").json
    assert server.sdk.schedule.get(schedule_id["scheduleId"]).retries == 1


def test_defaults_survive_a_change_of_the_endpoints(server: Running, sink: Sink) -> None:
    make(server, sink, "/a")
    set_defaults(server, {"Upstash-Retries": "5"})
    make(server, sink, "/b")
    server.sdk.url_group.remove_endpoints("g", [{"name": "a"}])
    [receipt] = publish(server)
    assert server.sdk.message.get(receipt.message_id).max_retries == 5


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"A B": "1"}, "invalid header name"),
        ({"Upstash-Forward-A": "1\r\nEvil: 1"}, "control characters"),
        ({"Upstash-Retries": "many"}, "Upstash-Retries"),
        ({"Upstash-Forward-Host": "evil.example"}, "belongs to the connection"),
        ([], "the body is an object"),
    ],
)
def test_defaults_that_no_request_could_have_are_refused(
    server: Running, sink: Sink, headers: Any, text: str
) -> None:
    make(server, sink, "/a")
    answer = server.request("PATCH", "/v2/topics/g", json.dumps({"headers": headers}))
    assert answer.status == 400
    assert text in answer.json["error"]
    assert len(publish(server)) == 1


# Fan-out


def test_publish_makes_a_message_of_its_own_for_each_url(server: Running, sink: Sink) -> None:
    one, two = make(server, sink, "/one", "/two")
    sink.reply("/two", Reply(status=500, body=b"why"))
    receipts = publish(server, retries=1, retry_delay="1000", label="l")
    assert [r.url for r in receipts] == [one, two]
    first, second = (r.message_id for r in receipts)
    assert first != second
    server.settle()
    assert [d.body for d in sink.deliveries] == [b"x", b"x"]
    message = server.request("GET", f"/v2/messages/{second}").json
    assert (message["topicName"], message["endpointName"]) == ("g", "two")
    assert message["url"] == two
    server.advance(1)
    assert {d.headers["Upstash-Topic-Name"] for d in sink.deliveries} == {"g"}
    assert [d.headers["Upstash-Retried"] for d in sink.to("/two")] == ["0", "1"]
    assert len(sink.to("/one")) == 1
    [entry] = server.request("GET", "/v2/dlq").json["messages"]
    assert (entry["messageId"], entry["topicName"], entry["endpointName"]) == (second, "g", "two")
    events = server.request("GET", "/v2/events").json["events"]
    assert {(e["topicName"], e["endpointName"]) for e in events} == {("g", "one"), ("g", "two")}
    assert server.states(first)[-1] == "DELIVERED"
    assert server.states(second)[-1] == "FAILED"


def test_endpoint_without_a_name_has_none_anywhere(server: Running, sink: Sink) -> None:
    server.sdk.url_group.upsert_endpoints("g", [{"url": sink.url + "/a"}])
    [receipt] = publish(server)
    message = server.request("GET", f"/v2/messages/{receipt.message_id}").json
    assert message["topicName"] == "g"
    assert "endpointName" not in message
    assert server.request("GET", "/v2/topics/g").json["endpoints"] == [{"url": sink.url + "/a"}]


def test_raw_query_of_a_publish_to_a_group_reaches_no_url(server: Running, sink: Sink) -> None:
    make(server, sink, "/a")
    assert server.request("POST", "/v2/publish/g?x=1&upstash-method=PUT").status == 200
    server.settle()
    assert [(d.method, d.target) for d in sink.deliveries] == [("PUT", "/a")]


def test_host_that_is_gone_keeps_the_message_from_no_other_url(server: Running, sink: Sink) -> None:
    gone = "http://127.0.0.1.invalid/x"
    server.sdk.url_group.upsert_endpoints("g", [{"url": gone}, {"url": sink.url + "/one"}])
    receipts = publish(server, delay=60)
    assert [r.url for r in receipts] == [gone, sink.url + "/one"]
    server.sdk.message.cancel(receipts[0].message_id)  # Nothing here asks a real resolver.
    server.advance(60)
    assert [d.target for d in sink.deliveries] == ["/one"]


def test_signature_is_for_the_url_of_the_endpoint(server: Running, sink: Sink) -> None:
    urls = make(server, sink, "/one", "/two")
    publish(server)
    server.settle()
    subjects = {d.target: subject(d) for d in sink.deliveries}
    assert subjects == {"/one": urls[0], "/two": urls[1]}


def subject(delivery: Delivery) -> str:
    claims = delivery.headers["Upstash-Signature"].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"])


def test_enqueue_puts_each_message_into_the_queue(server: Running, sink: Sink) -> None:
    urls = make(server, sink, "/one", "/two")
    sink.reply("/one", Reply(status=500), Reply())
    receipts = server.sdk.message.enqueue(queue="q", url_group="g", body="x", retries=1)
    assert isinstance(receipts, list)
    assert [r.url for r in receipts] == urls
    server.settle()
    assert sink.to("/two") == []  # The first one waits for its retry.
    assert server.sdk.queue.get("q").lag == 2
    assert server.sdk.message.get(receipts[1].message_id).queue == "q"
    server.advance(12)
    assert [d.target for d in sink.deliveries] == ["/one", "/one", "/two"]


def test_batch_answers_a_group_with_an_array_in_its_place(server: Running, sink: Sink) -> None:
    urls = make(server, sink, "/one", "/two")
    items = [
        {"destination": sink.url + "/0", "body": "0"},
        {"destination": "g", "body": "1"},
        {"destination": "nobody", "body": "2"},
        {"destination": "g", "body": "3", "queue": "q"},
        {"destination": sink.url + "/4", "body": "4", "queue": "q"},
    ]
    answer = server.request("POST", "/v2/batch", json.dumps(items)).json
    assert list(answer[0]) == ["messageId"]
    assert [receipt["url"] for receipt in answer[1]] == urls
    assert answer[2] == {"error": "url group 'nobody' not found", "status": 404}
    assert [receipt["url"] for receipt in answer[3]] == urls
    server.settle()
    assert [d.body for d in sink.to("/one")] == [d.body for d in sink.to("/two")] == [b"1", b"3"]
    queued = [receipt["messageId"] for receipt in answer[3]] + [answer[4]["messageId"]]
    assert {server.sdk.message.get(i).queue for i in queued} == {"q"}
    ids = [r["messageId"] for r in (answer[0], *answer[1], *answer[3], answer[4])]
    assert len(set(ids)) == 6


def test_batch_of_the_sdk_reads_the_nested_array(server: Running, sink: Sink) -> None:
    urls = make(server, sink, "/one", "/two")
    nested, single = server.sdk.message.batch_json(
        [{"url_group": "g", "body": {"n": 1}}, {"url": sink.url + "/x", "body": {"n": 2}}]
    )
    assert isinstance(nested, list)
    assert [r.url for r in nested] == urls
    assert not isinstance(single, list)
    assert single.message_id


def test_callbacks_name_group_and_endpoint(server: Running, sink: Sink) -> None:
    make(server, sink, "/one", "/two")
    sink.reply("/two", Reply(status=500))
    publish(
        server, retries=0, callback=sink.url + "/callback", failure_callback=sink.url + "/failure"
    )
    server.settle()
    told = {(d.json["topicName"], d.json["endpointName"]) for d in sink.to("/callback")}
    assert told == {("g", "one"), ("g", "two")}
    [failure] = sink.to("/failure")
    assert (failure.json["topicName"], failure.json["endpointName"]) == ("g", "two")
    assert failure.json["url"] == sink.url + "/two"
    assert "Upstash-Topic-Name" not in failure.headers


def test_deduplication_id_counts_for_each_url(server: Running, sink: Sink) -> None:
    make(server, sink, "/one")
    [first] = publish(server, deduplication_id="d")
    make(server, sink, "/two")
    one, two = publish(server, deduplication_id="d")
    assert (one.message_id, one.deduplicated) == (first.message_id, True)
    assert not two.deduplicated
    server.settle()
    assert sorted(d.target for d in sink.deliveries) == ["/one", "/two"]


def test_content_based_deduplication_counts_for_each_url(server: Running, sink: Sink) -> None:
    make(server, sink, "/one", "/two")
    assert not any(r.deduplicated for r in publish(server, content_based_deduplication=True))
    assert all(r.deduplicated for r in publish(server, content_based_deduplication=True))


def test_deleted_group_leaves_its_messages_alone(server: Running, sink: Sink) -> None:
    make(server, sink, "/one", "/two")
    publish(server, delay=60)
    server.sdk.url_group.delete("g")
    with pytest.raises(QStashError, match="url group 'g' not found"):
        publish(server)
    server.advance(60)
    assert sorted(d.target for d in sink.deliveries) == ["/one", "/two"]


def test_retry_of_a_dead_letter_goes_to_its_own_url_alone(server: Running, sink: Sink) -> None:
    make(server, sink, "/one", "/two")
    sink.reply("/two", Reply(status=500), Reply())
    publish(server, retries=0)
    server.settle()
    server.sdk.url_group.delete("g")
    assert server.request("POST", "/v2/dlq/retry?topicName=g").status == 201
    server.settle()
    assert [d.target for d in sink.deliveries].count("/one") == 1
    assert sink.to("/two")[1].headers["Upstash-Topic-Name"] == "g"


def test_filters_by_topic_name(server: Running, sink: Sink) -> None:
    sink.reply("/bad", Reply(status=500))
    make(server, sink, "/bad", name="g")
    make(server, sink, "/later", name="h")
    publish(server, retries=0)
    server.sdk.message.publish(url_group="h", body="x", delay=60)
    server.publish(sink.url + "/plain", delay=60)
    server.settle()
    assert len(server.sdk.dlq.list(filter={"url_group": "g"}).messages) == 1
    assert server.sdk.dlq.list(filter={"url_group": "h"}).messages == []
    events = server.request("GET", "/v2/events?topicName=h").json["events"]
    assert [event["state"] for event in events] == ["CREATED"]
    assert server.request("DELETE", "/v2/messages?topicName=g").json == {"cancelled": 0}
    assert server.request("DELETE", "/v2/messages?topicName=g,h").json == {"cancelled": 1}
    assert server.sdk.message.cancel_all() == 1


# Schedules


def test_schedule_goes_to_the_endpoints_of_the_moment(server: Running, sink: Sink) -> None:
    make(server, sink, "/one", "/two")
    sink.reply("/two", Reply(status=500))
    server.sdk.schedule.create(
        destination="g", cron="* * * * *", schedule_id="s", body="tick", retries=0
    )
    assert server.sdk.schedule.get("s").destination == "g"
    server.advance(60)
    assert {d.headers["Upstash-Schedule-Id"] for d in sink.deliveries} == {"s"}
    assert {d.headers["Upstash-Topic-Name"] for d in sink.deliveries} == {"g"}
    states = server.sdk.schedule.get("s").last_schedule_states
    assert states == {
        sink.to("/one")[0].headers["Upstash-Message-Id"]: ScheduleState.SUCCESS,
        sink.to("/two")[0].headers["Upstash-Message-Id"]: ScheduleState.FAIL,
    }
    server.sdk.url_group.remove_endpoints("g", [{"name": "two"}])
    make(server, sink, "/three")
    server.advance(60)
    targets = sorted(d.target for d in sink.deliveries[2:])
    assert targets == ["/one", "/three"]
    assert len(server.sdk.schedule.get("s").last_schedule_states or {}) == 2


def test_schedule_enqueues_for_every_endpoint(server: Running, sink: Sink) -> None:
    make(server, sink, "/one", "/two")
    server.sdk.schedule.create(destination="g", cron="* * * * *", queue="q", delay=5)
    server.sdk.queue.pause("q")
    server.advance(60)
    server.advance(5)
    assert server.sdk.queue.get("q").lag == 2
    server.sdk.queue.resume("q")
    server.settle()
    assert [d.target for d in sink.deliveries] == ["/one", "/two"]


def test_schedule_without_its_group_says_so_sends_nothing_and_recovers(
    server: Running, sink: Sink
) -> None:
    make(server, sink, "/one")
    server.sdk.schedule.create(destination="g", cron="* * * * *", schedule_id="s")
    assert server.sdk.schedule.get("s").error is None
    server.sdk.url_group.delete("g")
    assert server.sdk.schedule.get("s").error == "url group 'g' not found"
    server.advance(60)
    server.advance(60)
    assert sink.deliveries == []
    [schedule] = server.sdk.schedule.list()
    assert schedule.error == "url group 'g' not found"
    assert not schedule.last_schedule_states
    assert schedule.next_schedule_time == server.clock.now_ms() + 60_000
    make(server, sink, "/one")
    assert server.sdk.schedule.get("s").error is None
    server.advance(60)
    assert [d.target for d in sink.deliveries] == ["/one"]


def test_schedule_for_a_group_that_was_never_there_is_404(server: Running) -> None:
    answer = server.request("POST", "/v2/schedules/nobody", headers={"Upstash-Cron": "@daily"})
    assert (answer.status, answer.json) == (404, {"error": "url group 'nobody' not found"})
    assert server.sdk.schedule.list() == []


def test_group_and_its_defaults_survive_a_restart(
    loop: LoopThread, state: Path, clock: ManualClock, sink: Sink
) -> None:
    with Running(loop, settings(state), clock) as server:
        make(server, sink, "/one")
        set_defaults(server, {"Upstash-Retries": "5"})
    with Running(loop, settings(state), clock) as server:
        assert endpoints(server) == [(sink.url + "/one", "one")]
        [receipt] = publish(server)
        assert server.sdk.message.get(receipt.message_id).max_retries == 5
