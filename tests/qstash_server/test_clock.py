import asyncio

from qstash_server.clock import ManualClock, SystemClock


def test_wait_ends_when_woken_however_far_the_time_is() -> None:
    async def scene() -> None:
        for clock in (SystemClock(), ManualClock(0)):
            wake = asyncio.Event()
            asyncio.get_running_loop().call_later(0.01, wake.set)
            async with asyncio.timeout(10):
                await clock.wait(wake, clock.now_ms() + 3_600_000)

    asyncio.run(scene())


def test_wait_ends_at_its_time() -> None:
    async def scene() -> None:
        clock = SystemClock()
        until_ms = clock.now_ms() + 20
        async with asyncio.timeout(10):
            while clock.now_ms() < until_ms:
                await clock.wait(asyncio.Event(), until_ms)

    asyncio.run(scene())


def test_manual_clock_wakes_whoever_waits_when_it_is_moved() -> None:
    async def scene() -> None:
        clock = ManualClock(1000)
        waiting = asyncio.create_task(clock.wait(asyncio.Event(), 1500))
        await asyncio.sleep(0)
        clock.advance(500)
        async with asyncio.timeout(10):
            await waiting
        await clock.wait(asyncio.Event(), clock.now_ms())  # A time that has come is not waited for.

    asyncio.run(scene())
