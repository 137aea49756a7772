"""The asynchronous official SDK, over the calls that this server answers."""

import asyncio

from qstash import AsyncQStash

from tests.qstash_server.running import Reply, Running, Sink


def test_every_supported_call_of_the_async_sdk(server: Running, sink: Sink) -> None:
    bad = sink.reply("/bad", Reply(status=500))

    async def scene() -> None:
        sdk = AsyncQStash(server.token, retry=False, base_url=server.url)
        try:
            receipt = await sdk.message.publish_json(url=sink.url + "/x", body={"a": 1}, delay=60)
            assert (await sdk.message.get(receipt.message_id)).body == '{"a": 1}'  # type: ignore[union-attr]
            await sdk.message.cancel(receipt.message_id)  # type: ignore[union-attr]
            receipts = await sdk.message.batch([{"url": sink.url + "/y", "body": "1"}])
            assert len(receipts) == 1
            await sdk.schedule.create(destination=bad, cron="@hourly", schedule_id="s")
            await sdk.schedule.pause("s")
            assert (await sdk.schedule.get("s")).paused
            await sdk.schedule.resume("s")
            assert len(await sdk.schedule.list()) == 1
            await sdk.schedule.delete("s")
            await sdk.message.publish(url=bad, body="x", retries=0)
            assert (await sdk.signing_key.get()).current
            await asyncio.to_thread(server.settle)
            [entry] = (await sdk.dlq.list()).messages
            assert (await sdk.dlq.get(entry.dlq_id)).response_status == 500
            assert await sdk.dlq.delete_many([entry.dlq_id]) == 1
            assert len((await sdk.log.list(count=3)).logs) == 3
            assert await sdk.message.cancel_all() == 0
        finally:
            await sdk.http._client.aclose()

    asyncio.run(scene())
    assert sink.to("/x") == []
    assert len(sink.to("/y")) == 1
