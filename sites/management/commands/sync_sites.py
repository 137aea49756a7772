import getpass
from argparse import ArgumentParser
from typing import IO, Any, cast

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scheduling.management.commands.run_job import finish
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.runner import Call
from sites.jobs import SYNC_SITES
from sites.models import MonitoredSite, SiteSnapshot, SyncLog
from sites.platforms import PLATFORMS


class Command(BaseCommand):
    help = "Syncs the monitored sites now: all that are due, or those that are named."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "sites", nargs="*", metavar="NAME", help="names of sites; all due ones without"
        )
        parser.add_argument(
            "--platform", choices=sorted(PLATFORMS), help="only sites of this platform"
        )
        parser.add_argument(
            "--stale",
            type=int,
            metavar="MINUTES",
            dest="stale_minutes",
            help="only sites whose last snapshot is at least this old",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        selection = {name: options[name] for name in ("sites", "platform", "stale_minutes")}
        payload = {name: value for name, value in selection.items() if value not in (None, [])}
        last_log = SyncLog.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        # Rich writes to anything with write(), as Django's wrapper of stdout has.
        # A name or a remark is text, whatever brackets and colons it has.
        console = Console(
            file=cast("IO[str]", self.stdout), highlight=False, markup=False, emoji=False
        )
        with _progress(console) as progress:
            task = progress.add_task("Syncing", total=None)
            finish(
                registry[SYNC_SITES],
                Call(
                    trigger=JobRun.Trigger.COMMAND,
                    caller=getpass.getuser(),
                    payload=payload,
                    report=lambda done, total: progress.update(task, completed=done, total=total),
                ),
            )
        _print_table(console, SyncLog.objects.filter(pk__gt=last_log).order_by("pk"))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    )  # fmt: skip


def _print_table(console: Console, logs: Any) -> None:
    table = Table("Site", "State", "Latency", "Remark")
    results = SiteSnapshot.objects.filter(sync_log__in=logs).order_by("site__name")
    for name, state, reason, data in results.values_list("site__name", "state", "reason", "data"):
        latency_ms = (data or {}).get("latency_ms")
        table.add_row(
            name,
            MonitoredSite.State(state).label,
            "" if latency_ms is None else f"{latency_ms} ms",
            reason,
        )
    console.print(table)
    synced, failed = sum(log.sites_synced for log in logs), sum(log.sites_failed for log in logs)
    duration_ms = sum(log.duration or 0 for log in logs)
    console.print(
        f"{synced + failed} sites, {synced} synced, {failed} failed, {duration_ms / 1000:.1f} s"
    )
