"""Recognisable secrets go in at every door; then everything that comes out is read for them.

Platforms, models, tables, pages and addresses are found, not listed, so what is added is covered.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command, get_commands
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from redis import Redis

from sites.configuration import clean_credentials
from sites.models import MonitoredSite, SiteSnapshot, SyncLog
from sites.outbound import connections
from sites.platforms import PLATFORMS
from tests.sites.conftest import RunSync
from tests.sites.loopback import LOOPBACK, Answer, Request, http
from tests.sites.planted import all_options, credentials, mark, needles, plant_in_every_model
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

Mood = Callable[[Request], Answer]


# --- A world in which every host repeats what it was told -----------------------------------------


def told(request: Request) -> str:
    """Everything that a request says."""
    return " ".join([request.target, *request.headers.values(), request.body.decode()])


def as_json(request: Request) -> str:
    text = told(request)
    error = {"message": text, "code": text, "type": text, "title": text, "detail": text}
    # Whoever asks for a token gets one, and what it was asked with.
    token = {"access_token": one_line(request), "token_type": "Bearer", "expires_in": 3600}
    return json.dumps(
        {
            "error": error,
            "errors": [error],
            "error_description": text,
            "visitors": text,
            text: text,
            **token,
        }
    )


def refusing(status: int) -> Mood:
    return lambda request: http(
        as_json(request), status=status, headers={"Retry-After": one_line(request)}
    )


def redirecting(to: str) -> Mood:
    return lambda request: http(status=302, headers={"Location": to + one_line(request)})


def one_line(request: Request) -> str:
    return "".join(told(request).split())


def growing(request: Request) -> Answer:
    async def pieces() -> AsyncIterator[bytes]:
        yield f"HTTP/1.1 200 OK\r\n\r\n{as_json(request)}".encode()
        await asyncio.sleep(60)

    return pieces()


#: All the ways in which a host fails.
MOODS: dict[str, Mood] = {
    **{f"answers {status}": refusing(status) for status in (200, 400, 401, 403, 404, 429, 500)},
    "answers with a web page": lambda request: http(f"<html>{told(request)}</html>"),
    "answers what is nearly JSON": lambda request: http(as_json(request)[:-1]),
    "redirects to itself": redirecting("/?key="),
    "redirects elsewhere": redirecting("https://elsewhere.example/?key="),
    "redirects to where nobody may go": redirecting("http://10.0.0.1/?key="),
    "redirects to another scheme": redirecting("ftp://elsewhere.example/"),
    "redirects to nonsense": redirecting("http://[nonsense/"),
    "redirects to a host of this name": redirecting("https://"),
    "speaks no HTTP": lambda request: told(request).encode(),
    "breaks off": lambda request: b"",
    "never answers": lambda request: None,
    "never ends": growing,
}


class Everywhere(dict[str, Any]):
    """Answers the same on every page."""

    def __init__(self, mood: Mood) -> None:
        self._mood = mood

    def get(self, target: str, default: Any = None) -> Any:
        return self._mood


@pytest.fixture
def host(website: Website, monkeypatch: pytest.MonkeyPatch) -> Website:
    """Have every name lead to this website, whatever the port, without TLS."""

    async def look_up(self: Any, host: str, port: int) -> list[Any]:
        try:
            return [ip_address(host)]
        except ValueError:
            return [LOOPBACK[1]]

    async def connect(origin: Any, addresses: Sequence[Any], limit_s: float) -> Any:
        port = int(website.url().rsplit(":", 1)[1].strip("/"))
        here = connections.Origin(host=origin.host, port=port, is_tls=False)
        return await connections.connect(here, addresses, limit_s)

    async def speak(connected: Any, address: Any, origin: Any, context: Any) -> Any:
        plain = connections.Origin(host=origin.host, port=origin.port, is_tls=False)
        connection = await connections.speak(connected, address, plain, context)
        connection.origin = origin
        return connection

    monkeypatch.setattr("sites.outbound.addresses.AddressRules._look_up", look_up)
    monkeypatch.setattr("sites.outbound.client.connect", connect)
    monkeypatch.setattr("sites.outbound.client.speak", speak)
    return website


def plant_sites() -> list[str]:
    """A site for every platform and every choice it offers; return their secrets."""
    secrets: list[str] = []
    for platform in PLATFORMS.values():
        for number, options in enumerate(all_options(platform)):
            given = credentials(platform)
            MonitoredSite.objects.create(
                name=f"{platform.key} {number}",
                platform=platform.key,
                options=options,
                credentials=clean_credentials(platform, options, given, {}),
                failures_to_open=1,
                successes_to_close=1,
            )
            secrets += given.values()
    return secrets


def sync_in_mood(host: Website, mood: Mood, run_sync: RunSync, *, time_s: float = 30.0) -> None:
    host.pages = Everywhere(mood)
    MonitoredSite.objects.update(not_before=None)
    run_sync(time_s=time_s)


# --- What comes out -------------------------------------------------------------------------------


def tables() -> Iterator[tuple[str, str]]:
    """Every row of every table as one text; bytes are in hexadecimal."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name)"
            " FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
            " AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        names = [name for (name,) in cursor.fetchall()]
        assert {"public.monitored_sites", "public.django_admin_log"} <= set(names)
        for name in names:
            cursor.execute(f"SELECT row_to_json(t)::text FROM {name} AS t")  # noqa: S608 - quoted
            yield from ((f"table {name}", text) for (text,) in cursor.fetchall())


def redis() -> Iterator[tuple[str, str]]:
    """Every key of Redis with its value."""
    client = Redis.from_url(settings.REDIS_URL, decode_responses=True, encoding_errors="replace")
    readers: dict[str, Callable[[str], Any]] = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": client.smembers,
        "zset": lambda key: client.zrange(key, 0, -1),
        "stream": client.xrange,
    }
    yield "redis", ""
    for key in client.scan_iter():
        yield f"redis {key}", f"{key} {readers[str(client.type(key))](key)}"


def pages(client: Client) -> Iterator[tuple[str, str]]:
    """The dashboard, and of every model in the admin the list, and every page of some rows."""
    yield "dashboard", client.get("/").content.decode()
    yield "admin", client.get(reverse("admin:index")).content.decode()
    for model, model_admin in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield name, client.get(reverse(f"{name}_changelist")).content.decode()
        if not model_admin.has_view_permission(_request(client)):
            continue
        for pk in model._base_manager.order_by("-pk").values_list("pk", flat=True)[:8]:
            for page in ("change", "history", "delete"):
                answer = client.get(reverse(f"{name}_{page}", args=[pk]))
                assert answer.status_code in (200, 302, 403), (name, page, answer)
                yield f"{name}_{page}", answer.content.decode()


def _request(client: Client) -> Any:
    request = client.get("/").wsgi_request
    request.user = User.objects.get(username="me")
    return request


def api_lists(patterns: Sequence[Any], prefix: str = "/") -> Iterator[str]:
    """The addresses below /api/ that take no parameter."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern).lstrip("^").rstrip("$\\Z").replace("\\Z", "")
        if isinstance(pattern, URLResolver):
            yield from api_lists(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern) and path.startswith("/api/") and "<" not in path:
            yield path


def api(client: Client) -> Iterator[tuple[str, str]]:
    """What every address answers, and every row it lists."""
    seen = 0
    for path in api_lists(get_resolver().url_patterns):
        answer = client.get(path, headers={"Accept": "application/json"})
        text = b"".join(answer).decode()
        yield path, text
        if answer.headers.get("Content-Type") != "application/json":
            continue
        body = json.loads(text)
        rows = body.get("results", []) if isinstance(body, dict) else []
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and "id" in row:
                seen += 1
                detail = client.get(f"{path}/{row['id']}", headers={"Accept": "application/json"})
                yield f"{path}/{row['id']}", detail.content.decode()
    assert seen > 10


def exports(capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[str, str]]:
    """Dumps of the database, and every command that exports something."""
    for command in ["dumpdata", *(name for name in get_commands() if name.startswith("export"))]:
        capsys.readouterr()
        call_command(command)
        yield command, capsys.readouterr().out


def assert_none_found(where: Iterator[tuple[str, str]], wanted: set[str]) -> None:
    looked_at = 0
    for place, text in where:
        looked_at += 1
        found = [needle for needle in wanted if needle in text]
        assert not found, f"{place} shows a secret: {text[:2000]}"
    assert looked_at


# --- The tests ------------------------------------------------------------------------------------


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("me"))
    return client


def test_whatever_fails_in_whatever_way_shows_no_secret_anywhere(
    host: Website,
    run_sync: RunSync,
    staff: Client,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = plant_sites()
    secrets += plant_in_every_model()
    for mood in MOODS.values():
        is_slow = mood in (MOODS["never answers"], MOODS["never ends"])
        sync_in_mood(host, mood, run_sync, time_s=1.0 if is_slow else 30.0)
    for platform in PLATFORMS.values():

        async def fetch(request: Any, client: Any) -> Any:
            raise RuntimeError(f"no idea what to do with {dict(request.credentials)}")

        monkeypatch.setattr(platform, "fetch", fetch, raising=False)
    sync_in_mood(host, refusing(200), run_sync)
    wanted = needles(secrets)

    # The secrets have been out there, and have come back; otherwise nothing is shown here.
    sent = "".join(told(request) for request in host.requests)
    assert sum(needle in sent for needle in wanted) >= 4
    assert "has a bug" in caplog.text
    assert SiteSnapshot.objects.values("state").distinct().count() >= 4
    assert SyncLog.objects.filter(sites_failed__gt=0).count() >= 5

    assert_none_found(((record.name, record.getMessage()) for record in caplog.records), wanted)
    assert_none_found(iter([("the log", caplog.text)]), wanted)
    assert_none_found(tables(), wanted)
    assert_none_found(redis(), wanted)
    assert_none_found(pages(staff), wanted)
    assert_none_found(api(staff), wanted)
    assert_none_found(exports(capsys), wanted)


@pytest.mark.parametrize(
    "key", [key for key, platform in PLATFORMS.items() if platform.Credentials.base_fields]
)
def test_what_is_typed_is_not_shown_again_by_forms_answers_or_the_history_of_the_admin(
    key: str, staff: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    platform = PLATFORMS[key]
    options, given = next(all_options(platform)), credentials(platform)
    form = {
        "timezone": "UTC",
        "enabled": "on",
        **{f"option_{name}": value for name, value in options.items()},
        **{f"credential_{name}": value for name, value in given.items()},
    }
    add = f"{reverse('admin:sites_monitoredsite_add')}?platform={key}"
    shown = [staff.post(add, form), staff.post(add, {**form, "name": "Shop", "timezone": "Mars"})]
    added = staff.post(add, {**form, "name": "Shop"})
    assert added.status_code == 302, added.content.decode()
    site = MonitoredSite.objects.get()
    assert site.credentials.keys() == given.keys()
    page = reverse("admin:sites_monitoredsite_change", args=[site.pk])
    renewed = credentials(platform)
    shown += [
        staff.get(page),
        staff.post(page, {**form, **{f"credential_{name}": value for name, value in renewed.items()},
                          "name": "Shop"}, follow=True),
        staff.get(reverse("admin:sites_monitoredsite_history", args=[site.pk])),
    ]  # fmt: skip
    wrong = dict.fromkeys(given, f"{mark()}\n\x00")
    body = {"name": "API", "platform": key, "options": options}
    for sent in ({**body, "credentials": wrong}, {**body, "credentials": {"unknown": mark()}},
                 {**body, "credentials": given}, {**body, "credentials": [mark()]}):  # fmt: skip
        shown.append(staff.post("/api/sites", sent, content_type="application/json"))
        wrong |= {str(number): mark_ for number, mark_ in enumerate(marks_of(sent))}
    wanted = needles([*given.values(), *renewed.values(), *wrong.values()])
    assert_none_found((("answer", answer.content.decode()) for answer in shown), wanted)
    assert_none_found(tables(), wanted)
    assert_none_found(iter([("the log", caplog.text)]), wanted)


def marks_of(sent: Any) -> list[str]:
    return re.findall(r"planted[0-9a-f]{32}", json.dumps(sent))


def test_every_model_with_secrets_has_one_planted() -> None:
    plant_sites()
    assert plant_in_every_model()
    assert not plant_in_every_model()
