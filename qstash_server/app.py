"""The HTTP side: from the request to the route, and from the answer to the wire."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace

from aiohttp import web

from qstash_server.broker import Broker
from qstash_server.call import Answer, Call
from qstash_server.errors import ApiError, QuotaExceeded
from qstash_server.gate import check_site, check_token
from qstash_server.page import access
from qstash_server.routes import dispatch

logger = logging.getLogger(__name__)


def make_app(broker: Broker) -> web.Application:
    """Return an application with one route: what is asked for is decided on the raw path."""

    async def handle(request: web.Request) -> web.Response:
        answer = await _answer(broker, request)
        return _response(answer, access.HEADERS if access.is_page(_path(request)) else {})

    app = web.Application(client_max_size=broker.settings.max_batch_bytes)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def _answer(broker: Broker, request: web.Request) -> Answer:
    try:
        return await dispatch(broker, await _admit(broker, request))
    except ApiError as error:
        return Answer(status=error.status, body={"error": str(error)})
    except (ConnectionError, web.RequestPayloadError):
        raise  # The client is gone, or never sent what it announced: nobody to answer.
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return Answer(status=500, body={"error": "internal server error; the log says more"})


async def _admit(broker: Broker, request: web.Request) -> Call:
    """Return the call, its body read only once it is clear that the caller may ask."""
    headers = tuple(request.headers.items())
    call = Call(
        method=request.method,
        path=_path(request),
        raw_query=request.raw_path.partition("?")[2],
        headers=headers,
        body=b"",
        caller_ip=request.remote or "",
    )
    check_site(
        headers,
        on_loopback=broker.settings.on_loopback,
        may_be_linked=(call.method, call.path) == ("GET", "/"),
    )
    if access.is_page(call.path):
        access.check_access(call, broker.settings, broker.clock.now_ms())
        return call  # Nothing of the page takes a body.
    check_token(headers, call.token, token=broker.settings.token)
    try:
        return replace(call, body=await request.read())
    except web.HTTPRequestEntityTooLarge as error:
        limit = broker.settings.max_batch_bytes
        raise QuotaExceeded(f"the request is larger than {limit} bytes") from error


def _path(request: web.Request) -> str:
    return request.raw_path.partition("?")[0]


def _response(answer: Answer, headers: Mapping[str, str]) -> web.Response:
    headers = {**headers, **answer.headers}
    if answer.body is None or isinstance(answer.body, bytes):
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    return web.Response(
        status=answer.status,
        body=json.dumps(answer.body).encode(),
        headers=headers,
        content_type="application/json",
    )
