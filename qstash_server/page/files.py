"""The files that make up the page, as the browser gets them. There is no data in them."""

from pathlib import Path

from qstash_server.broker import Broker
from qstash_server.call import Answer, Call

_FOLDER = Path(__file__).parent
_FILES = {
    "/": ((_FOLDER / "page.html").read_bytes(), "text/html; charset=utf-8"),
    "/page.css": ((_FOLDER / "page.css").read_bytes(), "text/css; charset=utf-8"),
    "/page.js": ((_FOLDER / "page.js").read_bytes(), "text/javascript; charset=utf-8"),
}
PATHS = frozenset(_FILES)


async def get(broker: Broker, call: Call) -> Answer:
    content, content_type = _FILES[call.path]
    return Answer(body=content, headers={"Content-Type": content_type})
