"""The whole of the official Python SDK, synchronous and asynchronous, against this server."""

import asyncio
import inspect
from typing import Any

import pytest
from qstash import AsyncQStash, QStash
from qstash.log import LogState
from qstash.message import FlowControlProperties

from tests.qstash_server.running import Reply, Running, Sink


class Caller:
    """Calls methods of an SDK by name, and knows which of them have not been called."""

    def __init__(self, sdk: QStash | AsyncQStash) -> None:
        self._sdk = sdk
        self.left = {
            f"{resource_name}.{method_name}"
            for resource_name, resource in vars(sdk).items()
            if resource_name != "http"
            for method_name, method in inspect.getmembers(resource, inspect.ismethod)
            if not method_name.startswith("_")
        }

    async def __call__(self, name: str, *arguments: Any, **options: Any) -> Any:
        resource, _, method = name.partition(".")
        result = getattr(getattr(self._sdk, resource), method)(*arguments, **options)
        self.left.discard(name)
        return await result if inspect.isawaitable(result) else result


async def use_messages(call: Caller, server: Running, sink: Sink) -> None:
    one = await call("message.publish", url=sink.url + "/a", body="1", delay="1m", label="l")
    two = await call("message.publish_json", url=sink.url + "/a", body={"n": 2}, delay=60)
    message = await call("message.get", two.message_id)
    assert (message.body, message.max_retries) == ('{"n": 2}', 3)
    await call("message.cancel", one.message_id)
    assert await call("message.cancel_many", [one.message_id, two.message_id]) == 1
    queued = await call("message.enqueue", queue="q", url=sink.url + "/b", body="3")
    assert (await call("message.get", queued.message_id)).queue == "q"
    await call("message.enqueue_json", queue="q", url=sink.url + "/b", body={"n": 4})
    items = [{"url": sink.url + "/b", "body": "5"}, {"url": sink.url + "/b", "queue": "q"}]
    assert len(await call("message.batch", items)) == 2
    [receipt] = await call("message.batch_json", [{"url": sink.url + "/b", "body": {"n": 6}}])
    assert receipt.message_id
    await asyncio.to_thread(server.settle)
    assert sink.to("/a") == []
    bodies = sorted(delivery.body for delivery in sink.to("/b"))
    assert bodies == [b"", b"3", b"5", b'{"n": 4}', b'{"n": 6}']
    await call("message.publish", url=sink.url + "/a", body="7", delay=60)
    assert await call("message.cancel_all") == 1


async def use_queues(call: Caller, server: Running, sink: Sink) -> None:
    await call("queue.upsert", "own", parallelism=2)
    await call("queue.pause", "own")
    await call("message.enqueue", queue="own", url=sink.url + "/own", body="1")
    queue = await call("queue.get", "own")
    assert (queue.name, queue.parallelism, queue.paused, queue.lag) == ("own", 2, True, 1)
    await call("queue.resume", "own")
    await asyncio.to_thread(server.settle)
    assert len(sink.to("/own")) == 1
    assert [q.name for q in await call("queue.list")] == ["own", "q"]
    await call("queue.delete", "own")
    assert [q.name for q in await call("queue.list")] == ["q"]


async def use_url_groups(call: Caller, server: Running, sink: Sink) -> None:
    urls = [sink.url + "/g1", sink.url + "/g2"]
    await call("url_group.upsert_endpoints", "g", [{"url": url} for url in urls])
    receipts = await call("message.publish", url_group="g", body="x")
    assert [receipt.url for receipt in receipts] == urls
    await call("url_group.remove_endpoints", "g", [{"url": urls[0]}])
    assert [e.url for e in (await call("url_group.get", "g")).endpoints] == urls[1:]
    assert [group.name for group in await call("url_group.list")] == ["g"]
    for _ in range(2):
        await call("url_group.delete", "g")
    assert await call("url_group.list") == []


async def use_schedules(call: Caller, server: Running, sink: Sink) -> None:
    destination = sink.url + "/tick"
    assert await call(
        "schedule.create", destination=destination, cron="@hourly", schedule_id="s", body="x"
    )
    await call("schedule.create_json", destination=destination, cron="@daily", body={"n": 1})
    await call("schedule.pause", "s")
    assert (await call("schedule.get", "s")).paused
    await call("schedule.resume", "s")
    schedules = await call("schedule.list")
    assert sorted(s.body for s in schedules) == ["x", '{"n": 1}']
    assert not any(s.paused for s in schedules)
    for schedule in schedules:
        await call("schedule.delete", schedule.schedule_id)
    assert await call("schedule.list") == []


async def use_dlq_and_log(call: Caller, server: Running, sink: Sink) -> None:
    bad = sink.reply("/bad", Reply(status=500, body=b"why"))
    for _ in range(2):
        await call("message.publish", url=bad, body="x", retries=0, label="bad")
    await asyncio.to_thread(server.settle)
    first, second = (await call("dlq.list", filter={"label": "bad"}, count=2)).messages
    assert (await call("dlq.get", first.dlq_id)).response_body == "why"
    await call("dlq.delete", first.dlq_id)
    assert await call("dlq.delete_many", [first.dlq_id, second.dlq_id]) == 1
    logs = (await call("log.list", filter={"message_id": first.message_id})).logs
    assert [log.state for log in logs] == [
        LogState.FAILED,
        LogState.ERROR,
        LogState.ACTIVE,
        LogState.CREATED,
    ]


async def use_flow_control(call: Caller, server: Running, sink: Sink) -> None:
    await call("flow_control.pause", "f")
    limits = {"key": "f", "rate": 4, "parallelism": 3, "period": "1m"}
    receipt = await call("message.publish", url=sink.url + "/f", body="x", flow_control=limits)
    message = await call("message.get", receipt.message_id)
    assert message.flow_control == FlowControlProperties(key="f", parallelism=3, rate=4, period=60)
    key = await call("flow_control.get", "f")
    assert (key.key, key.is_paused, key.wait_list_size) == ("f", True, 1)
    await call("flow_control.resume", "f")
    await asyncio.to_thread(server.settle)
    assert len(sink.to("/f")) == 1
    await call("flow_control.pin", "f", {"parallelism": 7, "rate": 8, "period": 9})
    key = await call("flow_control.get", "f")
    assert (key.parallelism_max, key.rate_max, key.rate_period) == (7, 8, 9)
    assert (key.is_pinned_parallelism, key.is_pinned_rate) == (True, True)
    await call("flow_control.unpin", "f", {"parallelism": True, "rate": True})
    await call("flow_control.reset_rate", "f")
    key = await call("flow_control.get", "f")
    assert (key.is_pinned_parallelism, key.is_pinned_rate, key.rate_count) == (False, False, 0)
    assert (await call("flow_control.get_global_parallelism")).parallelism_max == 100


async def use_signing_keys(call: Caller, server: Running, sink: Sink) -> None:
    before = await call("signing_key.get")
    after = await call("signing_key.rotate")
    assert after.current == before.next
    assert await call("signing_key.get") == after


SCENES = (
    use_messages,
    use_queues,
    use_url_groups,
    use_schedules,
    use_dlq_and_log,
    use_flow_control,
    use_signing_keys,
)


async def use_everything(call: Caller, server: Running, sink: Sink) -> None:
    for scene in SCENES:
        await scene(call, server, sink)
    # Whatever the SDK may learn to do belongs into one of the scenes.
    assert call.left == set()


# The SDK prints the log that it lists.
@pytest.mark.usefixtures("capsys")
def test_every_method_of_the_sdk(server: Running, sink: Sink) -> None:
    asyncio.run(use_everything(Caller(server.sdk), server, sink))


def test_every_method_of_the_asynchronous_sdk(server: Running, sink: Sink) -> None:
    async def scene() -> None:
        sdk = AsyncQStash(server.token, retry=False, base_url=server.url)
        try:
            await use_everything(Caller(sdk), server, sink)
        finally:
            await sdk.http._client.aclose()

    asyncio.run(scene())


def test_both_sdks_have_the_same_methods(server: Running) -> None:
    methods = Caller(server.sdk).left
    assert methods == Caller(AsyncQStash(server.token)).left
    assert len(methods) == 42
