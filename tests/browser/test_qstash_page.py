"""The page of the QStash server, served by that server itself."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from qstash_server.clock import ManualClock
from tests.browser.conftest import quiet_context
from tests.browser.test_pages import assert_no_faults
from tests.qstash_server.running import LoopThread, Reply, Running, Sink, settings

TOKEN = "made-up-token-of-ones-own"
MARKUP = "<img src=x onerror=alert(1)>"
LONG_PATH = "/a/path/without/any/place/to/break/it/" + "a1b2c3d4" * 20


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with LoopThread() as loop:
        yield loop


@pytest.fixture
def sink(loop: LoopThread) -> Iterator[Sink]:
    with Sink(loop) as sink:
        yield sink


@pytest.fixture
def token() -> dict[str, str]:
    """The settings of the server that say who may look: nobody has to log in."""
    return {}


@pytest.fixture
def server(loop: LoopThread, tmp_path: Path, token: dict[str, str]) -> Iterator[Running]:
    # The browser has a clock of its own; the page goes by the server's.
    clock = ManualClock(time.time_ns() // 1_000_000)
    with Running(loop, settings(tmp_path / "state.sqlite3", **token), clock) as server:
        yield server


@pytest.fixture
def context(browser: Browser, server: Running, complaints: list[str]) -> Iterator[BrowserContext]:
    with quiet_context(browser, server.url, complaints) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


with_a_token = pytest.mark.parametrize("token", [{"token": TOKEN}], ids=["own-token"])


def build_world(server: Running, sink: Sink) -> None:
    """Schedules, messages that wait, dead letters, and the events of all that."""
    create = server.sdk.schedule.create
    create(destination=sink.url + "/tick", cron="*/5 * * * *", schedule_id="tick")
    create(
        destination="https://backup.example" + LONG_PATH,
        cron="CRON_TZ=Europe/Vienna 30 2 * * MON-FRI",
        schedule_id="nightly-backup",
        delay="5m",
        label="backup",
    )
    server.sdk.schedule.pause("nightly-backup")
    server.publish(
        sink.reply("/orders", Reply(status=500, body=b"broken\n" * 200)),
        body="an order",
        retries=0,
        label=f"shop,{MARKUP}",
    )
    server.publish("http://127.0.0.1:9/nobody", retries=0)
    server.settle()
    server.advance(900)
    server.publish(sink.url + "/invoice", delay="90m")
    server.publish(sink.url + LONG_PATH, delay="3d", label=MARKUP)
    server.publish(sink.reply("/flaky", Reply(status=503)), retries=5)
    server.settle()
    server.publish(sink.reply("/slow", Reply(delay_s=60)))
    sink.wait_for("/slow")


def row(page: Page, section: str, text: str) -> Locator:
    return page.get_by_role("region", name=section).get_by_role("row").filter(has_text=text)


def test_page_is_accessible_and_fits(server: Running, sink: Sink, page: Page) -> None:
    build_world(server, sink)
    page.goto("/")
    row(page, "Dead letters", "/orders").get_by_text("Bodies").click()
    expect(page.get_by_text("an order")).to_be_visible()
    expect(row(page, "Waiting", "/slow")).to_contain_text("being delivered")
    expect(row(page, "Schedules", "nightly-backup")).to_contain_text("paused")
    expect(row(page, "Dead letters", "/nobody")).to_contain_text("Cannot connect")
    expect(page.get_by_text(MARKUP).first).to_be_visible()
    assert_no_faults(page)


def test_empty_page_is_accessible_and_fits(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    assert_no_faults(page)


@with_a_token
def test_login_is_accessible_and_fits(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert_no_faults(page)


def test_dead_letter_is_redelivered_by_a_click(server: Running, sink: Sink, page: Page) -> None:
    build_world(server, sink)
    page.goto("/")
    sink.reply("/orders", Reply())
    row(page, "Dead letters", "/orders").get_by_role("button", name="Redeliver").click()
    expect(page.get_by_role("status")).to_contain_text("Redelivered: POST")
    expect(row(page, "Dead letters", "/orders")).to_have_count(0)
    expect(row(page, "Latest events", "/orders").first).to_contain_text("delivered")
    assert [delivery.body for delivery in sink.to("/orders")] == [b"an order"] * 2


def test_what_cannot_be_taken_back_wants_two_clicks(
    server: Running, sink: Sink, page: Page
) -> None:
    build_world(server, sink)
    page.goto("/")
    for section, path, button, sure in (
        ("Waiting", "/invoice", "Cancel", "Really cancel?"),
        ("Dead letters", "/nobody", "Delete", "Really delete?"),
    ):
        rows = row(page, section, path)
        rows.get_by_role("button", name=button).click()
        rows.get_by_role("button", name=sure).click()
        expect(rows).to_have_count(0)
        # What had the focus is gone; the keyboard goes on from the section.
        expect(page.get_by_role("heading", name=section)).to_be_focused()
    [entry] = server.sdk.dlq.list().messages
    assert entry.url.endswith("/orders")
    [event] = server.request("GET", "/v2/events?state=CANCELED").json["events"]
    assert event["url"].endswith("/invoice")


def test_second_click_that_does_not_come_changes_nothing(
    server: Running, sink: Sink, page: Page
) -> None:
    message_id = server.publish(sink.url + "/invoice", delay="90m")
    page.goto("/")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Really cancel?").blur()
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    assert server.sdk.message.get(message_id).message_id == message_id


def test_waiting_message_is_sent_at_once(server: Running, sink: Sink, page: Page) -> None:
    build_world(server, sink)
    page.goto("/")
    row(page, "Waiting", "/invoice").get_by_role("button", name="Send now").click()
    expect(row(page, "Waiting", "/invoice")).to_have_count(0)
    sink.wait_for("/invoice")


def test_schedule_is_paused_and_resumed(server: Running, sink: Sink, page: Page) -> None:
    build_world(server, sink)
    page.goto("/")
    tick = row(page, "Schedules", "tick")
    tick.get_by_role("button", name="Pause").click()
    expect(tick).to_contain_text("paused")
    # The button that had the focus is gone; the keyboard goes on with the one in its place.
    expect(tick.get_by_role("button", name="Resume")).to_be_focused()
    assert server.sdk.schedule.get("tick").paused
    tick.get_by_role("button", name="Resume").click()
    expect(tick.get_by_role("button")).to_have_text(["Pause"])
    assert not server.sdk.schedule.get("tick").paused


def test_page_refreshes_itself_and_disturbs_nobody(server: Running, sink: Sink, page: Page) -> None:
    build_world(server, sink)
    page.goto("/")
    details = row(page, "Dead letters", "/orders").get_by_role("group")
    details.get_by_text("Bodies").click()
    button = row(page, "Waiting", "/invoice").get_by_role("button", name="Send now")
    button.focus()
    server.publish(sink.url + "/new", delay="1h")
    server.publish(sink.url + "/newest")
    expect(row(page, "Waiting", "/new")).to_be_visible()
    expect(row(page, "Latest events", "/newest").first).to_contain_text("delivered")
    expect(page.get_by_role("link", name="Waiting")).to_have_text("5 Waiting")
    expect(button).to_be_focused()
    expect(details).to_have_attribute("open", "")


def test_hidden_page_asks_for_nothing_until_it_is_seen_again(
    server: Running, sink: Sink, page: Page
) -> None:
    page.clock.install()
    page.goto("/")
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    _set_hidden(page, True)
    expect(page.locator("#status")).to_contain_text("Paused while the tab is hidden")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    server.publish(sink.url + "/x", delay="1h")
    page.clock.run_for(60_000)
    assert asked == []
    _set_hidden(page, False)
    expect(row(page, "Waiting", "/x")).to_be_visible()


def test_page_says_when_the_server_is_away_and_keeps_what_it_had(
    server: Running, sink: Sink, page: Page, context: BrowserContext, complaints: list[str]
) -> None:
    server.publish(sink.url + "/x", delay="1h")
    page.goto("/")
    expect(row(page, "Waiting", "/x")).to_be_visible()
    context.set_offline(True)
    expect(page.get_by_role("alert").first).to_contain_text("The server does not answer.")
    expect(row(page, "Waiting", "/x")).to_be_visible()
    context.set_offline(False)
    expect(page.locator("#notice")).to_be_empty()
    _only(complaints, "ERR_INTERNET_DISCONNECTED")


def test_what_is_gone_already_is_said_in_the_words_of_the_server(
    server: Running, sink: Sink, page: Page, complaints: list[str]
) -> None:
    message_id = server.publish(sink.url + "/x", delay="1h")
    page.goto("/")
    page.get_by_role("button", name="Cancel").click()
    _set_hidden(page, True)
    server.sdk.message.cancel(message_id)
    page.get_by_role("button", name="Really cancel?").click()
    expect(page.get_by_role("status")).to_contain_text(f"message {message_id} not found")
    _only(complaints, "404")


@with_a_token
def test_login_takes_the_token_of_the_server_only(
    server: Running, page: Page, complaints: list[str]
) -> None:
    page.goto("/")
    field = page.get_by_label("Token")
    field.fill("something else")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert").last).to_have_text("That is not the token of this server.")
    expect(field).to_have_attribute("aria-invalid", "true")
    _only(complaints, "401")

    field.fill(TOKEN)
    field.press("Enter")
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    assert TOKEN not in page.content()
    page.reload()
    expect(page.get_by_text("Nothing waits.")).to_be_visible()

    page.get_by_role("button", name="Log out").click()
    expect(field).to_be_focused()
    page.reload()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


@with_a_token
def test_session_that_has_ended_leads_to_the_login(
    server: Running, page: Page, context: BrowserContext, complaints: list[str]
) -> None:
    server.sdk.schedule.create(destination="https://a.example", cron="@daily", schedule_id="mine")
    page.goto("/")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(row(page, "Schedules", "mine")).to_be_visible()
    context.clear_cookies()
    expect(page.get_by_text("The session has ended.")).to_be_visible()
    assert "mine" not in page.content()
    _only(complaints, "401")


def _only(complaints: list[str], text: str) -> None:
    """The browser complains of a failed request too, which the test has caused; and of nothing else."""
    assert complaints
    assert all(re.search(text, complaint) for complaint in complaints), complaints
    complaints.clear()


def _set_hidden(page: Page, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
