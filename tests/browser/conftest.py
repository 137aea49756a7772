"""A real browser on the real pages, served by Django's own test server."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HERE = Path(__file__).parent
PASSWORD = "made-up-password-for-tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            # The tests of a file share one browser, so they stay together on one worker.
            item.add_marker(pytest.mark.xdist_group(f"browser-{item.path.stem}"))


# Not for the whole session: while it runs, Playwright keeps an event loop on this thread, on which
# the tests of other packages could start none.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("There is no chromium on this machine (Debian: apt-get install chromium).")
    # The loop belongs to Playwright; nothing of Django runs on it. But Django sees a loop on the
    # thread and would refuse to touch the database from the tests.
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        environment.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def admin(transactional_db: None) -> User:
    return User.objects.create_superuser("admin", password=PASSWORD)


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complains of: errors, violations of the policy, calls to other hosts."""
    return []


@pytest.fixture
def context(
    browser: Browser, live_server: LiveServer, complaints: list[str]
) -> Iterator[BrowserContext]:
    with quiet_context(browser, live_server.url, complaints) as context:
        yield context


@contextmanager
def quiet_context(
    browser: Browser, base_url: str, complaints: list[str]
) -> Iterator[BrowserContext]:
    """A fresh profile. A test that used it fails when the browser had anything to complain of."""
    context = browser.new_context(base_url=base_url, reduced_motion="reduce")
    context.set_default_timeout(10_000)
    context.on(
        "console",
        lambda message: (
            complaints.append(f"{message.page and message.page.url}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((base_url, "data:", "blob:"))
            else complaints.append(f"A request to another host: {request.url}")
        ),
    )
    yield context
    context.close()
    assert complaints == [], "\n".join(complaints)


@pytest.fixture
def page(context: BrowserContext, admin: User, live_server: LiveServer) -> Page:
    """A page of somebody who has logged in."""
    client = Client()
    client.force_login(admin)
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    return context.new_page()
