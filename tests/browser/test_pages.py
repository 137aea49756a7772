"""Every page, light and dark, wide and narrow: accessible, quiet, and no wider than the screen."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from scheduling.models import JobRun, ScheduledJob
from sites.models import Incident, MonitoredSite, SyncLog
from tests.browser.world import build_world

WIDE, NARROW = 1280, 390
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

#: Preloading would write stylesheets into the page, which its policy refuses.
AXE_OPTIONS = {"resultTypes": ["violations"], "preload": False}

PAGES: dict[str, Callable[[], str]] = {
    "dashboard": lambda: "/",
    "admin index": lambda: "/admin/",
    "schedules": lambda: "/admin/scheduling/scheduledjob/",
    "schedule": lambda: (
        f"/admin/scheduling/scheduledjob/{ScheduledJob.objects.get(key='nightly-backup').pk}/change/"
    ),
    "new schedule": lambda: "/admin/scheduling/scheduledjob/add/",
    "sites": lambda: "/admin/sites/monitoredsite/",
    "platforms": lambda: "/admin/sites/monitoredsite/add/",
    "new site": lambda: "/admin/sites/monitoredsite/add/?platform=custom_json",
    "site": lambda: (
        f"/admin/sites/monitoredsite/{MonitoredSite.objects.get(name='Bookkeeping').pk}/change/"
    ),
    "history of a page": lambda: f"/sites/{MonitoredSite.objects.get(name='Inkwell API').pk}",
    "history of a business": lambda: (
        f"/sites/{MonitoredSite.objects.get(name__startswith='Inkwell sub').pk}?days=90"
    ),
    "history of nothing": lambda: f"/sites/{MonitoredSite.objects.get(name='Newsletter').pk}",
    "replays": lambda: "/admin/recommendations/replayfigures/",
    "runs": lambda: "/admin/scheduling/jobrun/",
    "run": lambda: (
        f"/admin/scheduling/jobrun/{JobRun.objects.get(status=JobRun.Status.FAILED).pk}/change/"
    ),
    "incidents": lambda: "/admin/sites/incident/",
    "incident": lambda: (
        f"/admin/sites/incident/{Incident.objects.exclude(closed_at=None).get().pk}/change/"
    ),
    "syncs": lambda: "/admin/sites/synclog/",
    "embeddings": lambda: "/admin/recommendations/userembedding/",
    "nobody": lambda: "/admin/recommendations/userembedding/user/",
    "user": lambda: "/admin/recommendations/userembedding/user/?user_id=user-000",
    "item of a user": lambda: (
        "/admin/recommendations/userembedding/user/?user_id=user-000&item_id=item-004"
    ),
    "stranger": lambda: "/admin/recommendations/userembedding/user/?user_id=stranger",
    "sync": lambda: f"/admin/sites/synclog/{SyncLog.objects.latest('created_at').pk}/change/",
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible_and_fits(name: str, page: Page) -> None:
    build_world()
    page.goto(PAGES[name]())
    assert_no_faults(page)


def test_login_page_is_accessible_and_fits(context: BrowserContext, transactional_db: None) -> None:
    page = context.new_page()
    page.goto("/")
    expect(page).to_have_title("Log in | SoloBoard")
    assert_no_faults(page)


def test_empty_dashboard_is_accessible_and_fits(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Nothing is watched yet")).to_be_visible()
    assert_no_faults(page)


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs",
        "/api/jobs/sync-sites",
        "/api/sites",
        "/api/incidents",
        "/api/runs",
        "/api/sync-logs",
        "/api/cron/sync-sites",
    ],
)
def test_browsable_api_keeps_the_content_security_policy(path: str, page: Page) -> None:
    build_world()
    page.goto(path, wait_until="networkidle")
    expect(page.get_by_role("link", name="SoloBoard")).to_be_visible()


def test_init_says_in_the_browser_that_qstash_is_away(page: Page, complaints: list[str]) -> None:
    page.goto("/api/init", wait_until="networkidle")
    expect(page.locator(".response-info")).to_contain_text("502")
    # Nothing but the status itself, of which the browser complains too.
    (complaint,) = complaints
    assert "502" in complaint
    complaints.clear()


def test_actions_of_the_browsable_api_can_be_reached(page: Page) -> None:
    build_world()
    page.goto("/api/jobs/sync-sites")
    page.get_by_role("button", name="Extra actions").click()
    expect(page.get_by_role("link", name="Pause")).to_be_visible()


def test_api_docs_show_the_operations(page: Page) -> None:
    page.goto("/api/docs")
    expect(page.locator(".opblock-summary-path").first).to_be_visible()
    paths = [
        text.replace("\u200b", "")
        for text in page.locator(".opblock-summary-path").all_inner_texts()
    ]
    assert {"/api/cron/sync-sites", "/api/jobs/{key}/run", "/api/sites"} <= set(paths)


def assert_no_faults(page: Page) -> None:
    faults = list(_faults(page))
    assert not faults, "\n".join(faults)


def _faults(page: Page) -> Iterator[str]:
    for theme in THEMES:
        for width in (WIDE, NARROW):
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": width, "height": 800})
            yield from (f"{theme}, {width} px: {fault}" for fault in _axe_violations(page))
            content_width = page.evaluate("document.documentElement.scrollWidth")
            if content_width > width:
                yield f"{theme}, {width} px: the page is {content_width} px wide"


def _axe_violations(page: Page) -> Iterator[str]:
    for violation in Axe().run(page, options=AXE_OPTIONS).response["violations"]:
        for node in violation["nodes"]:
            target = " ".join(map(str, node["target"]))
            yield f"{violation['id']} at {target}: {node['failureSummary']}"
