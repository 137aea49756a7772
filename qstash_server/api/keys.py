"""/v2/keys: the signing keys."""

from functools import partial

from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.signing import SigningKeys
from qstash_server.state import keys


async def get(broker: Broker, call: Call) -> Answer:
    return Answer(body=_json(broker.courier.keys))


async def rotate(broker: Broker, call: Call) -> Answer:
    """Sign with the next key from now on. Receivers that know both keys notice nothing."""
    broker.courier.keys = await broker.database.write(
        partial(keys.rotate, keys=broker.courier.keys)
    )
    return Answer(body=_json(broker.courier.keys))


def _json(pair: SigningKeys) -> dict[str, str]:
    return {"current": pair.current, "next": pair.next}
