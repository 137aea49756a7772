import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from recommendations import content, queue
from recommendations.models import ContentItem
from sites.models import MonitoredSite
from soloboard import demo_history
from soloboard.demo_readers import PREFIX, articles, history

PASSWORD_FILE = "SOLOBOARD_ADMIN_PASSWORD_FILE"  # noqa: S105 - the name of a variable.
ADMIN = "admin"
DEMO_FIGURES = """\
visitors = today.visitors
sales = today.orders
revenue [EUR] = today.revenue
revenue [USD] = today.revenue_usd
"""


class Command(BaseCommand):
    help = (
        "Makes the first account, the demo sites with their made-up year and the demo readers of a new "
        "installation on one machine."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        # Whoever has an account has been here before: what they deleted since does not come back.
        if get_user_model().objects.exists():
            self.stdout.write("This installation has its accounts already; nothing to do.")
            return
        page, shop = demo_sites()
        for site in (page, shop):
            site.full_clean()
            site.save()
        demo_history.write(page, shop, timezone.now())
        tell_demo_readers()
        self._create_admin()

    def _create_admin(self) -> None:
        password = Path(os.environ[PASSWORD_FILE]).read_text().strip()
        get_user_model().objects.create_superuser(ADMIN, password=password)


def tell_demo_readers() -> None:
    """Store the made-up magazine, and put what its readers did into the queue."""
    now = timezone.now()
    problems = content.upsert(list(articles(now)))
    if problems:
        raise CommandError(f"The demo content is not valid: {problems[0]}")
    items = ContentItem.objects.filter(external_id__startswith=PREFIX)
    queue.push(history(list(items.values_list("external_id", flat=True)), now))


def demo_sites() -> list[MonitoredSite]:
    """Sites that mean something without internet: this installation, and its made-up shop."""
    return [
        MonitoredSite(
            name="SoloBoard itself",
            platform="uptime",
            options={
                "url": f"{settings.APP_URL}/healthz",
                "keyword": "alive",
                "slow_after_ms": 1000,
            },
        ),
        MonitoredSite(
            name="Demo shop",
            platform="custom_json",
            options={
                "url": f"{settings.APP_URL}/demo/shop",
                "figures": DEMO_FIGURES,
            },
        ),
    ]
