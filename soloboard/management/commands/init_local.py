import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from sites.models import MonitoredSite

PASSWORD_FILE = "SOLOBOARD_ADMIN_PASSWORD_FILE"  # noqa: S105 - the name of a variable.
ADMIN = "admin"
DEMO_FIGURES = """\
visitors = today.visitors
sales = today.orders
revenue [EUR] = today.revenue
"""


class Command(BaseCommand):
    help = "Makes the first account and the demo sites of a new installation on one machine."

    def handle(self, *args: Any, **options: Any) -> None:
        # Whoever has an account has been here before: what they deleted since does not come back.
        if get_user_model().objects.exists():
            self.stdout.write("This installation has its accounts already; nothing to do.")
            return
        for site in demo_sites():
            site.full_clean()
            site.save()
        self._create_admin()

    def _create_admin(self) -> None:
        password = Path(os.environ[PASSWORD_FILE]).read_text().strip()
        get_user_model().objects.create_superuser(ADMIN, password=password)


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
