import io
import json
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command

from sites.models import MonitoredSite, SiteSnapshot
from tests.sites.loopback import http
from tests.sites.website import Website

pytestmark = pytest.mark.django_db

SECRET = "made-up-secret"
Command = Callable[..., str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def try_it(monkeypatch: pytest.MonkeyPatch) -> Command:
    def run(*words: str, stdin: str | Terminal = "") -> str:
        source = io.StringIO(stdin) if isinstance(stdin, str) else stdin
        monkeypatch.setattr("sys.stdin", source)
        out = io.StringIO()
        call_command("test_connection", *words, stdout=out)
        return out.getvalue()

    return run


@pytest.fixture
def described(website: Website) -> list[str]:
    website.pages["/figures"] = http(json.dumps({"v": 1200}))
    options = {"url": website.url("/figures"), "auth": "bearer", "figures": "visitors = v"}
    words = ["--platform", "custom_json"]
    for name, value in options.items():
        words += ["--option", f"{name}={value}"]
    return words


def test_stored_site_is_tried(website: Website, try_it: Command) -> None:
    options = {"url": website.url("/shop")}
    MonitoredSite.objects.create(name="shop", platform="uptime", options=options)
    shown = try_it("shop")
    assert "The connection works." in shown
    assert "Latency: " in shown
    assert website.paths == ["/shop"]
    assert not SiteSnapshot.objects.exists()


def test_site_is_tried_before_it_is_stored(
    website: Website, described: list[str], try_it: Command
) -> None:
    shown = try_it(*described, stdin=json.dumps({"secret": SECRET}))
    assert "Visitors: 1,200" in shown
    assert website.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert not MonitoredSite.objects.exists()


def test_credentials_are_asked_for_at_a_terminal(
    website: Website,
    described: list[str],
    try_it: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "getpass.getpass", lambda prompt: SECRET if prompt.startswith("secret") else ""
    )
    assert "The connection works." in try_it(*described, stdin=Terminal())
    assert website.requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_what_is_wrong_is_an_error_that_says_so(
    website: Website, described: list[str], try_it: Command
) -> None:
    website.pages["/figures"] = http(status=401)
    with pytest.raises(CommandError) as caught:
        try_it(*described, stdin=json.dumps({"secret": SECRET}))
    assert "The credentials are refused." in str(caught.value)
    assert "401 Unauthorized" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "stdin", "complaint"),
    [
        (["Shopp"], "", "There is no site named 'Shopp'."),
        (["--option", "url"], "", "Write an option as name=value, not 'url'."),
        (["--option", "colour=red"], "", "colour: There is no such field"),
        (["--option", "method=PUT"], "", "method: "),
        (["--timezone", "Mars"], "", "Mars"),
        ([], "", "secret: These options need this credential."),
        ([], "made-up-secret", "no JSON object of credentials"),
        ([], '["made-up-secret"]', "no JSON object of credentials"),
        ([], '{"token": "made-up-secret"}', "token: There is no such field"),
    ],
)
def test_what_cannot_be_tried_is_said_in_one_sentence(
    website: Website,
    described: list[str],
    try_it: Command,
    words: list[str],
    stdin: str,
    complaint: str,
) -> None:
    with pytest.raises(CommandError) as caught:
        try_it(*(words if words == ["Shopp"] else described + words), stdin=stdin)
    assert complaint in str(caught.value)
    assert SECRET not in str(caught.value)
    assert website.requests == []


def test_site_is_either_named_or_described(try_it: Command) -> None:
    with pytest.raises(CommandError, match="required"):
        try_it()
    with pytest.raises(CommandError, match="not allowed with"):
        try_it("shop", "--platform", "uptime")
