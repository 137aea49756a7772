"""What people do, in a real browser, while QStash is away."""

import re

from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page, expect

from scheduling.models import ScheduledJob
from sites.models import MonitoredSite
from tests.browser.conftest import PASSWORD
from tests.browser.world import build_world

SECRET = "made-up-secret-of-a-story"
REFRESH = "document.dispatchEvent(new Event('visibilitychange'))"


def test_logging_in_leads_to_the_dashboard(context: BrowserContext, admin: User) -> None:
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Username").fill(admin.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_title("Dashboard | SoloBoard")


def test_a_wrong_password_is_refused(context: BrowserContext, admin: User) -> None:
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Username").fill(admin.username)
    page.get_by_label("Password").fill("something else")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".errornote")).to_contain_text("correct username and password")


def test_adding_a_site_by_hand(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Add the first site").click()
    page.get_by_role("link", name="Custom JSON").click()
    page.get_by_label("Name:", exact=True).fill("Shop")
    page.get_by_label("URL").fill("https://shop.example/figures")
    page.get_by_label("Authentication").select_option("bearer")
    page.get_by_label("Figures").fill("visitors = today.visitors")
    page.get_by_label("Secret").fill(SECRET)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    assert MonitoredSite.objects.get(name="Shop").credentials == {"secret": SECRET}

    page.get_by_role("link", name="Shop", exact=True).last.click()
    expect(page.get_by_text("Stored, and never shown again.")).to_be_visible()
    assert SECRET not in page.content()


def test_bad_input_is_explained_at_its_field_and_kept(page: Page) -> None:
    page.goto("/admin/sites/monitoredsite/add/?platform=custom_json")
    page.get_by_label("Name:", exact=True).fill("Shop")
    page.get_by_label("URL").fill("https://shop.example/figures")
    page.get_by_label("Figures").fill("revenue = today.revenue")
    page.get_by_label("Secret").fill(SECRET)
    page.get_by_role("button", name="Save", exact=True).click()

    figures = page.get_by_label("Figures")
    expect(figures).to_have_accessible_description(re.compile("'revenue' needs its currency"))
    expect(figures).to_have_value("revenue = today.revenue")
    expect(figures).to_have_attribute("aria-invalid", "true")
    assert SECRET not in page.content()
    assert not MonitoredSite.objects.exists()


def test_editing_a_schedule_while_qstash_is_away(page: Page) -> None:
    build_world()
    job = ScheduledJob.objects.get(key="sync-sites")
    page.goto(f"/admin/scheduling/scheduledjob/{job.pk}/change/")
    page.get_by_label("Cron").fill("30 7 * * MON")
    page.get_by_label("Timezone").fill("Europe/Vienna")
    page.get_by_role("button", name="Save and continue editing").first.click()

    expect(page.locator(".messagelist .warning")).to_contain_text("QStash does not have it yet")
    fire_times = page.locator(".field-next_fire_times .readonly").inner_text().splitlines()
    assert len(fire_times) == 5
    assert all(line.startswith("Mon ") and " 07:30 CE" in line for line in fire_times)

    page.get_by_role("link", name="Schedules").click()
    row = page.get_by_role("row").filter(has_text="SoloBoard Data Sync")
    expect(row).to_contain_text("At 07:30, only on Monday (Europe/Vienna)")
    expect(row).to_contain_text("not pushed")


def test_a_wrong_cron_is_explained_and_changes_nothing(page: Page) -> None:
    build_world()
    job = ScheduledJob.objects.get(key="sync-sites")
    page.goto(f"/admin/scheduling/scheduledjob/{job.pk}/change/")
    page.get_by_label("Cron").fill("*/15 * * *")
    page.get_by_role("button", name="Save", exact=True).first.click()
    expect(page.locator("#id_cron_error")).to_contain_text("A schedule has five fields")
    job.refresh_from_db()
    assert job.cron == "*/15 * * * *"


def test_what_a_cadence_costs_is_told_before_it_is_saved(page: Page) -> None:
    build_world()
    job = ScheduledJob.objects.get(key="sync-sites")
    page.goto(f"/admin/scheduling/scheduledjob/{job.pk}/change/")
    cost = page.locator(".cost")
    expect(cost).to_contain_text("Every 15 minutes: 96 messages a day")
    page.get_by_label("Cron").fill("*/5 * * * * *")
    expect(cost).to_contain_text("Every 5 seconds: 18,720 messages a day")
    expect(cost.get_by_role("row").filter(has_text="Free")).to_contain_text("18.7 times")
    job.refresh_from_db()
    assert job.cron == "*/15 * * * *"


def test_a_secret_header_is_never_shown_again(page: Page) -> None:
    build_world()
    job = ScheduledJob.objects.get(key="nightly-backup")
    page.goto(f"/admin/scheduling/scheduledjob/{job.pk}/change/")
    page.locator("summary").filter(has_text="Headers").click()
    page.get_by_label("Secret headers").fill(f"X-Token: {SECRET}")
    page.get_by_role("button", name="Save and continue editing").first.click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    assert SECRET not in page.content()
    expect(page.locator("#id_secret_headers_helptext")).to_contain_text(
        "never shown again: X-Token"
    )
    job.refresh_from_db()
    assert job.secret_headers == {"X-Token": SECRET}

    page.goto(f"/api/jobs/{job.key}")
    assert SECRET not in page.content()


def test_the_dashboard_refreshes_itself_and_keeps_the_focus(page: Page) -> None:
    build_world()
    page.goto("/")
    page.get_by_role("link", name="Paperboat", exact=True).focus()
    MonitoredSite.objects.filter(name="Paperboat").update(
        state=MonitoredSite.State.DOWN, state_reason="answered 500"
    )
    page.evaluate(REFRESH)
    expect(page.locator(".card.bad").filter(has_text="answered 500")).to_be_visible()
    expect(page.get_by_role("link", name="Paperboat", exact=True)).to_be_focused()


def test_the_dashboard_says_when_it_cannot_refresh(
    page: Page, context: BrowserContext, complaints: list[str]
) -> None:
    page.goto("/")
    context.set_offline(True)
    page.evaluate(REFRESH)
    expect(page.get_by_role("status")).to_contain_text("does not answer")
    context.set_offline(False)
    page.evaluate(REFRESH)
    expect(page.get_by_role("status")).to_be_empty()
    # Nothing but the missing network, which the browser and htmx complain of too.
    assert all("ERR_INTERNET_DISCONNECTED" in said or "htmx:" in said for said in complaints)
    complaints.clear()


def test_a_dashboard_whose_session_has_ended_leads_to_the_login(
    page: Page, context: BrowserContext
) -> None:
    page.goto("/")
    context.clear_cookies()
    page.evaluate(REFRESH)
    expect(page).to_have_title("Log in | SoloBoard")


def test_a_sparkline_tells_its_course_in_words(page: Page) -> None:
    build_world()
    page.goto("/")
    card = page.locator(".card").filter(has_text="Inkwell API")
    expect(card.get_by_role("img")).to_have_accessible_name(
        re.compile(r"Latency over 2[45] hours: lowest .* failures in [34] of 2[56]\.")
    )
