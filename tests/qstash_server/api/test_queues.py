import asyncio
import json
import threading
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest
from qstash.errors import QStashError
from qstash.message import BatchRequest

from qstash_server.clock import ManualClock, SystemClock
from tests.qstash_server.running import DEADLINE_S, LoopThread, Reply, Running, Sink, settings


def bodies(sink: Sink) -> str:
    """What has arrived, the callbacks left out."""
    return "".join(d.body.decode() for d in sink.deliveries if len(d.body) == 1)


def enqueue_all(server: Running, url: str, names: str, **options: Any) -> list[str]:
    return [server.enqueue("q", url, body=name, **options) for name in names]


def test_queue_reads_back_as_it_was_made_and_changed(server: Running) -> None:
    now_ms = server.clock.now_ms()
    server.sdk.queue.upsert("my-queue_1.x", parallelism=3)
    queue = server.sdk.queue.get("my-queue_1.x")
    assert (queue.name, queue.parallelism, queue.paused, queue.lag) == ("my-queue_1.x", 3, False, 0)
    assert (queue.created_at, queue.updated_at) == (now_ms, now_ms)
    server.advance(5)
    server.sdk.queue.upsert("my-queue_1.x", parallelism=7, paused=True)
    changed = server.sdk.queue.get("my-queue_1.x")
    assert (changed.parallelism, changed.paused) == (7, True)
    assert (changed.created_at, changed.updated_at) == (now_ms, now_ms + 5000)
    server.sdk.queue.upsert("another")
    assert [queue.name for queue in server.sdk.queue.list()] == ["another", "my-queue_1.x"]
    server.sdk.queue.delete("my-queue_1.x")
    assert [queue.name for queue in server.sdk.queue.list()] == ["another"]
    with pytest.raises(QStashError, match="404"):
        server.sdk.queue.get("my-queue_1.x")


def test_value_that_the_body_does_not_name_stays(server: Running) -> None:
    server.sdk.queue.upsert("q", parallelism=3, paused=True)
    for body in ('{"queueName": "q"}', '{"queueName": "q", "parallelism": null}'):
        assert server.request("POST", "/v2/queues/", body).status == 200
    queue = server.sdk.queue.get("q")
    assert (queue.parallelism, queue.paused) == (3, True)


def test_queue_that_is_not_there_is_deleted_already(server: Running) -> None:
    assert server.request("DELETE", "/v2/queues/nobody").status == 200


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_pause_and_resume_make_the_queue_and_may_be_repeated(server: Running, method: str) -> None:
    for action, paused in (("pause", True), ("resume", False)):
        for _ in range(2):
            assert server.request(method, f"/v2/queues/new/{action}").status == 200
            assert server.sdk.queue.get("new").paused is paused


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("[]", "the body is an object"),
        ("{}", "the body is an object"),
        ('{"queueName": 1}', "the body is an object"),
        ('{"queueName": ""}', "invalid queue name"),
        ('{"queueName": "a b"}', "invalid queue name"),
        ('{"queueName": "a/b"}', "invalid queue name"),
        ('{"queueName": "q", "parallelism": 0}', "invalid parallelism 0"),
        ('{"queueName": "q", "parallelism": -1}', "invalid parallelism -1"),
        ('{"queueName": "q", "parallelism": 1.5}', "invalid parallelism 1.5"),
        ('{"queueName": "q", "parallelism": "3"}', "invalid parallelism '3'"),
        ('{"queueName": "q", "parallelism": true}', "invalid parallelism True"),
        ('{"queueName": "q", "parallelism": 10001}', "invalid parallelism 10001"),
        ('{"queueName": "q", "paused": "yes"}', "invalid paused 'yes'"),
    ],
)
def test_bad_queue_is_refused_and_not_made(server: Running, body: str, text: str) -> None:
    answer = server.request("POST", "/v2/queues", body)
    assert answer.status == 400
    assert text in answer.json["error"]
    assert server.sdk.queue.list() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/enqueue/a%20b/http://127.0.0.1:9"),
        ("POST", "/v2/queues/a%20b/pause"),
        ("POST", "/v2/queues/a%20b/resume"),
        ("GET", "/v2/queues/a%20b"),
    ],
)
def test_bad_name_in_a_path_is_refused(server: Running, method: str, path: str) -> None:
    answer = server.request(method, path)
    assert (answer.status, "invalid queue name 'a b'" in answer.text) == (400, True)


def test_enqueue_makes_the_queue_and_says_so_on_the_message(server: Running, sink: Sink) -> None:
    message_id = server.enqueue("new", sink.url + "/x")
    server.settle()
    assert len(sink.to("/x")) == 1
    queue = server.sdk.queue.get("new")
    assert (queue.parallelism, queue.paused, queue.lag) == (1, False, 0)
    assert server.sdk.message.get(message_id).queue == "new"
    events = server.request("GET", f"/v2/events?messageId={message_id}").json["events"]
    assert {event["queueName"] for event in events} == {"new"}


def test_lag_counts_what_is_not_settled(server: Running, sink: Sink) -> None:
    url = sink.hold("/slow")
    enqueue_all(server, url, "abc", callback=sink.hold("/callback"))
    sink.wait_for("/slow")
    assert server.sdk.queue.get("q").lag == 3
    sink.release("/slow")
    sink.wait_for("/callback")
    assert server.sdk.queue.get("q").lag == 2
    sink.release("/callback")
    server.settle()
    assert server.sdk.queue.get("q").lag == 0


def test_next_message_waits_for_every_retry_and_both_callbacks_of_the_one_before(
    server: Running, sink: Sink
) -> None:
    url = sink.reply("/x", Reply(status=500), Reply(status=500), Reply())
    callback = sink.reply("/callback", Reply(), Reply(status=500), Reply())
    failure = sink.reply("/failure", Reply(status=500), Reply())
    server.enqueue(
        "q",
        url,
        body="a",
        retries=1,
        retry_delay="10000",
        callback=callback,
        failure_callback=failure,
    )
    server.enqueue("q", url, body="b")
    server.settle()
    assert [d.target for d in sink.deliveries] == ["/x", "/callback"]
    server.advance(10)
    assert sorted(d.target for d in sink.deliveries[2:]) == ["/callback", "/failure", "/x"]
    server.advance(9)
    assert bodies(sink) == "aa"
    server.advance(1)
    assert bodies(sink) == "aab"
    assert [d.target for d in sink.deliveries[-3:]][-1] == "/x"
    assert {d.headers["Upstash-Retried"] for d in sink.to("/failure")} == {"0", "1"}


def test_callback_that_fails_for_good_lets_the_next_message_go(server: Running, sink: Sink) -> None:
    callback = sink.reply("/callback", Reply(status=500))
    server.enqueue("q", sink.url + "/x", body="a", callback=callback, retries=0)
    server.enqueue("q", sink.url + "/x", body="b")
    server.settle()
    assert bodies(sink) == "ab"


def test_parallelism_is_how_many_are_under_way_at_a_time(server: Running, sink: Sink) -> None:
    server.sdk.queue.upsert("q", parallelism=3)
    url = sink.hold("/slow")
    enqueue_all(server, url, "abcdef")
    sink.wait_for("/slow", 3)
    server.rest()
    assert sorted(bodies(sink)) == list("abc")
    server.sdk.queue.upsert("q", parallelism=5)
    sink.wait_for("/slow", 5)
    server.rest()
    assert sorted(bodies(sink)) == list("abcde")
    assert server.sdk.queue.get("q").lag == 6


def test_queues_do_not_wait_for_each_other(server: Running, sink: Sink) -> None:
    server.enqueue("slow", sink.hold("/slow"))
    server.enqueue("slow", sink.url + "/behind")
    server.enqueue("quick", sink.url + "/quick")
    server.publish(sink.url + "/none")
    sink.wait_for("/quick")
    sink.wait_for("/none")
    assert sink.to("/behind") == []


def test_paused_queue_accepts_and_delivers_from_the_earliest_when_it_is_resumed(
    server: Running, sink: Sink
) -> None:
    server.sdk.queue.pause("q")
    enqueue_all(server, sink.url + "/x", "abc")
    server.advance(3600)
    assert (sink.deliveries, server.sdk.queue.get("q").lag) == ([], 3)
    server.sdk.queue.resume("q")
    server.settle()
    assert bodies(sink) == "abc"


def test_pause_holds_back_the_retry_of_the_current_message_too(server: Running, sink: Sink) -> None:
    url = sink.reply("/x", Reply(status=500), Reply())
    enqueue_all(server, url, "ab")
    server.settle()
    server.sdk.queue.pause("q")
    server.advance(3600)
    assert bodies(sink) == "a"
    server.sdk.queue.resume("q")
    server.settle()
    assert bodies(sink) == "aab"


def test_upsert_of_the_sdk_resumes_a_paused_queue(server: Running, sink: Sink) -> None:
    server.sdk.queue.upsert("q", paused=True)
    server.enqueue("q", sink.url + "/x")
    server.settle()
    assert sink.deliveries == []
    server.sdk.queue.upsert("q")
    server.settle()
    assert len(sink.deliveries) == 1


def test_pause_lets_what_is_in_flight_end(server: Running, sink: Sink) -> None:
    ids = enqueue_all(server, sink.hold("/slow"), "ab")
    sink.wait_for("/slow")
    server.sdk.queue.pause("q")
    sink.release("/slow")
    server.settle()
    assert server.states(ids[0])[-1] == "DELIVERED"
    assert bodies(sink) == "a"


def test_cancelled_head_lets_the_next_go(server: Running, sink: Sink) -> None:
    url = sink.reply("/x", Reply(status=500), Reply())
    ids = enqueue_all(server, url, "abc")
    server.settle()
    assert bodies(sink) == "a"
    server.sdk.message.cancel(ids[0])
    server.settle()
    assert bodies(sink) == "abc"


def test_message_cancelled_in_line_is_passed_over(server: Running, sink: Sink) -> None:
    ids = enqueue_all(server, sink.hold("/slow"), "abc")
    sink.wait_for("/slow")
    server.sdk.message.cancel(ids[1])
    sink.release("/slow")
    server.settle()
    assert bodies(sink) == "ac"


def test_message_cancelled_in_flight_keeps_its_slot_until_it_ends(
    server: Running, sink: Sink
) -> None:
    ids = enqueue_all(server, sink.hold("/slow"), "ab", callback=sink.url + "/callback")
    sink.wait_for("/slow")
    server.sdk.message.cancel(ids[0])
    server.rest()
    assert bodies(sink) == "a"
    sink.release("/slow")
    server.settle()
    assert bodies(sink) == "ab"
    assert len(sink.to("/callback")) == 1


def test_cancelled_callback_lets_the_next_go(server: Running, sink: Sink) -> None:
    callback = sink.reply("/callback", Reply(status=500))
    server.enqueue("q", sink.url + "/x", body="a", callback=callback)
    server.enqueue("q", sink.url + "/x", body="b")
    server.settle()
    assert bodies(sink) == "a"
    sent = sink.to("/callback")[0].headers["Upstash-Message-Id"]
    server.sdk.message.cancel(sent)
    server.settle()
    assert bodies(sink) == "ab"


def test_cancel_all_empties_every_queue(server: Running, sink: Sink) -> None:
    server.sdk.queue.pause("q")
    enqueue_all(server, sink.url + "/x", "abc")
    assert server.sdk.message.cancel_all() == 3
    server.sdk.queue.resume("q")
    server.enqueue("q", sink.url + "/x", body="d")
    server.settle()
    assert bodies(sink) == "d"


def test_deleting_a_queue_cancels_what_waits_in_it(server: Running, sink: Sink) -> None:
    ids = enqueue_all(server, sink.hold("/slow"), "abc")
    other = server.publish(sink.url + "/other", delay=60)
    sink.wait_for("/slow")
    server.sdk.queue.delete("q")
    assert server.sdk.queue.list() == []
    # The queue is made anew, and the one that is in flight still counts.
    server.enqueue("q", sink.url + "/x", body="d")
    server.rest()
    assert bodies(sink) == "a"
    sink.release("/slow")
    server.settle()
    assert bodies(sink) == "ad"
    assert [server.states(i)[-1] for i in ids] == ["CANCELED"] * 3
    assert server.sdk.message.get(other).body == "x"


def test_deleted_queue_that_was_paused_is_not_when_it_comes_back(
    server: Running, sink: Sink
) -> None:
    server.sdk.queue.upsert("q", parallelism=5, paused=True)
    server.enqueue("q", sink.url + "/x", body="a")
    server.sdk.queue.delete("q")
    server.enqueue("q", sink.url + "/x", body="b")
    server.settle()
    assert bodies(sink) == "b"
    assert server.sdk.queue.get("q").parallelism == 1


def test_queued_message_cannot_be_put_forward(server: Running, sink: Sink) -> None:
    server.sdk.queue.pause("q")
    message_id = server.enqueue("q", sink.url + "/x")
    answer = server.request("POST", f"/v2/messages/{message_id}/retry")
    assert answer.status == 400
    assert "is in the queue q" in answer.json["error"]
    server.sdk.queue.resume("q")
    server.settle()
    assert server.request("POST", f"/v2/messages/{message_id}/retry").status == 404


def test_batch_keeps_its_order_however_its_messages_are_sent(
    loop: LoopThread, state: Path, sink: Sink
) -> None:
    """On the clock of the machine: to work out many ways of sending takes some of its ticks."""
    ways = [BatchRequest(queue="q", url=f"{sink.url}/{n % 100}", body=str(n)) for n in range(200)]
    with Running(loop, settings(state), SystemClock()) as server:
        server.sdk.queue.pause("q")
        assert len(server.sdk.message.batch(ways)) == 200
        server.settle()
        server.sdk.queue.resume("q")
        server.settle()
    assert [int(d.body) for d in sink.deliveries] == list(range(200))


def test_group_in_a_queue_is_delivered_one_url_after_the_other(server: Running, sink: Sink) -> None:
    urls = [sink.url + f"/{n}" for n in range(3)]
    server.sdk.url_group.upsert_endpoints("g", [{"url": url} for url in urls])
    sink.hold("/1")
    server.sdk.message.enqueue(queue="q", url_group="g", body="x")
    sink.wait_for("/1")
    server.rest()
    assert [d.target for d in sink.deliveries] == ["/0", "/1"]
    sink.release("/1")
    server.settle()
    assert [d.target for d in sink.deliveries] == ["/0", "/1", "/2"]


def test_delayed_message_takes_its_place_when_its_delay_has_run_out(
    server: Running, sink: Sink
) -> None:
    failing = sink.reply("/failing", Reply(status=500), Reply())
    delayed = f"/v2/enqueue/q/{sink.url}/x"
    server.request("POST", delayed, "d", {"Upstash-Delay": "10s"})
    server.enqueue("q", sink.url + "/x", body="a")
    server.settle()
    assert bodies(sink) == "a"
    server.enqueue("q", failing, body="b")
    server.settle()
    server.advance(11)
    server.enqueue("q", sink.url + "/x", body="c")
    server.advance(1)
    assert bodies(sink) == "abbdc"


def test_schedule_enqueues_every_firing(server: Running, sink: Sink) -> None:
    server.sdk.schedule.create(
        destination=sink.url + "/tick", cron="* * * * *", schedule_id="s", queue="q"
    )
    assert server.sdk.schedule.get("s").queue == "q"
    server.sdk.queue.pause("q")
    server.advance(60)
    server.advance(60)
    assert (sink.deliveries, server.sdk.queue.get("q").lag) == ([], 2)
    server.sdk.queue.resume("q")
    server.settle()
    assert len(sink.to("/tick")) == 2


def test_retry_out_of_the_dlq_goes_back_into_the_queue(server: Running, sink: Sink) -> None:
    url = sink.reply("/x", Reply(status=500), Reply())
    server.enqueue("q", url, body="a", retries=0)
    server.settle()
    [entry] = server.sdk.dlq.list(filter={"queue": "q"}).messages
    assert entry.queue == "q"
    server.sdk.queue.pause("q")
    server.request("POST", f"/v2/dlq/retry/{entry.dlq_id}")
    server.settle()
    assert (bodies(sink), server.sdk.queue.get("q").lag) == ("a", 1)
    server.sdk.queue.resume("q")
    server.settle()
    assert bodies(sink) == "aa"


def test_queue_name_filters_messages_and_events(server: Running, sink: Sink) -> None:
    queued = server.enqueue("q", sink.url + "/x")
    server.publish(sink.url + "/x")
    server.settle()
    events = server.request("GET", "/v2/events?queueName=q").json["events"]
    assert {event["messageId"] for event in events} == {queued}
    server.sdk.queue.pause("q")
    server.enqueue("q", sink.url + "/x")
    other = server.publish(sink.url + "/x", delay=60)
    assert server.request("DELETE", "/v2/messages?queueName=q").json == {"cancelled": 1}
    assert server.sdk.message.get(other)


def test_hundreds_of_messages_arrive_in_the_order_of_their_batch(
    server: Running, sink: Sink
) -> None:
    batch = [{"destination": sink.url, "queue": "q", "body": str(n)} for n in range(300)]
    assert server.request("POST", "/v2/batch", json.dumps(batch)).status == 200
    server.settle()
    assert [int(d.body) for d in sink.deliveries] == list(range(300))


class Stalled:
    """Both readers of the state are busy, so that what is due can be taken but not be loaded."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._go = threading.Event()

    def __enter__(self) -> None:
        database = self._server.server.broker.database
        begun = threading.Barrier(3)

        def read(_: Connection) -> None:
            begun.wait()
            self._go.wait()

        async def begin() -> None:
            self._reads = [self._server.loop.loop.create_task(database.read(read)) for _ in "ab"]

        self._server.loop.run(begin())
        begun.wait()

    def __exit__(self, *_: object) -> None:
        self._go.set()


def wait_until_taken(server: Running, message_id: str) -> None:
    async def taken() -> None:
        async with asyncio.timeout(DEADLINE_S):
            while message_id not in server.server.broker.scheduler._starting:  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    server.loop.run(taken())


def test_message_cancelled_while_others_are_loaded_is_not_delivered(
    server: Running, sink: Sink
) -> None:
    server.sdk.queue.upsert("q", parallelism=2, paused=True)
    in_memory = server.enqueue("q", sink.url + "/x", body="a")
    server.request("POST", f"/v2/enqueue/q/{sink.url}/x", "b", {"Upstash-Delay": "1s"})
    server.advance(1)
    with Stalled(server):
        server.sdk.queue.resume("q")
        wait_until_taken(server, in_memory)
        server.sdk.message.cancel(in_memory)
    server.settle()
    assert bodies(sink) == "b"
    assert server.states(in_memory)[-1] == "CANCELED"


def test_message_put_forward_while_it_is_loaded_is_delivered_and_counted_once(
    server: Running, clock: ManualClock, sink: Sink
) -> None:
    message_id = server.publish(
        sink.hold("/x"), delay=10, flow_control={"key": "k", "parallelism": 2}
    )
    with Stalled(server):
        clock.advance(10_000)
        wait_until_taken(server, message_id)
        server.request("POST", f"/v2/messages/{message_id}/retry")
    sink.wait_for("/x")
    server.rest()
    assert server.sdk.flow_control.get("k").parallelism_count == 1
    sink.release("/x")
    server.settle()
    assert server.sdk.flow_control.get("k").parallelism_count == 0
    assert len(sink.to("/x")) == 1
