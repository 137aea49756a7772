from pathlib import Path

from qstash import Receiver

from qstash_server.clock import ManualClock
from qstash_server.settings import DEVELOPMENT_KEYS
from qstash_server.signing import SigningKeys
from tests.qstash_server.running import LoopThread, Running, Sink, settings


def test_keys_are_those_of_the_development_server(server: Running) -> None:
    keys = server.sdk.signing_key.get()
    assert (keys.current, keys.next) == (DEVELOPMENT_KEYS.current, DEVELOPMENT_KEYS.next)


def test_receiver_that_knows_the_old_pair_accepts_deliveries_after_a_rotation(
    server: Running, sink: Sink
) -> None:
    rotated = server.sdk.signing_key.rotate()
    assert rotated.current == DEVELOPMENT_KEYS.next
    assert server.sdk.signing_key.get() == rotated
    server.sdk.message.publish(url=sink.url + "/x", body="x")
    [delivery] = sink.wait_for("/x")
    Receiver(DEVELOPMENT_KEYS.current, DEVELOPMENT_KEYS.next).verify(
        signature=delivery.headers["Upstash-Signature"], body="x", url=sink.url + "/x"
    )


def test_rotation_survives_a_restart_until_other_keys_are_configured(
    loop: LoopThread, state: Path, clock: ManualClock
) -> None:
    with Running(loop, settings(state), clock) as server:
        rotated = server.sdk.signing_key.rotate()
    with Running(loop, settings(state), clock) as server:
        assert server.sdk.signing_key.get() == rotated
    own = SigningKeys(current="sig_" + "1" * 28, next="sig_" + "2" * 28)
    with Running(loop, settings(state, signing_keys=own), clock) as server:
        assert server.sdk.signing_key.get().current == own.current
