import json
from argparse import ArgumentParser, ArgumentTypeError
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sites.attempts import FIRST_PAST_DAYS, Attempt
from sites.history.backfill import backfill, longest_past_days
from sites.models import MonitoredSite

MOST_DAYS = 3660


class Command(BaseCommand):
    help = (
        "Fetches the past of business sites: of all that have one, or of those that are named. "
        "It may be repeated; a day that is known already is brought up to date."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sites", nargs="*", metavar="NAME", help="names of sites; all without")
        parser.add_argument(
            "--days",
            type=_days,
            default=FIRST_PAST_DAYS,
            help=f"how many days before today (default: {FIRST_PAST_DAYS})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Rich writes to anything with write(), as Django's wrapper of stdout has.
        # A name or a remark is text, whatever brackets and colons it has.
        console = Console(
            file=cast("IO[str]", self.stdout), highlight=False, markup=False, emoji=False
        )
        chosen = _chosen(options["sites"])
        sites = [site for site in chosen if longest_past_days(site)]
        _say_what_is_left_out(console, chosen, options["sites"], options["days"])
        attempts = _backfill(console, sites, options["days"])
        _print_table(console, attempts)
        failed = sum(not attempt.past_fetched for attempt in attempts)
        failed += len(sites) - len(attempts)
        if failed:
            raise CommandError(f"The past of {failed} of {len(sites)} sites could not be fetched.")
        console.print(f"The past of {len(sites)} sites fetched")


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_DAYS:
        raise ArgumentTypeError(f"must be a whole number from 1 to {MOST_DAYS}")
    return int(text)


def _chosen(names: list[str]) -> list[MonitoredSite]:
    sites = MonitoredSite.objects.sealed().defer("last_snapshot").order_by("name")
    if not names:
        return list(sites.filter(enabled=True))
    found = list(sites.filter(name__in=names))
    if missing := sorted(set(names) - {site.name for site in found}):
        raise CommandError(f"There is no site named {missing[0]!r}.")
    return found


def _say_what_is_left_out(
    console: Console, sites: list[MonitoredSite], names: list[str], days: int
) -> None:
    for site in sites:
        longest = longest_past_days(site)
        if not longest and names:
            console.print(f"{site.name}: {site.platform_name} has no past to fetch")
        elif 0 < longest < days:
            console.print(f"{site.name}: {site.platform_name} gives at most {longest} days")


def _backfill(console: Console, sites: list[MonitoredSite], days: int) -> list[Attempt]:
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    ) as progress:  # fmt: skip
        return list(progress.track(backfill(sites, days), len(sites), description="Fetching"))


def _print_table(console: Console, attempts: list[Attempt]) -> None:
    table = Table("Site", "Days", "Remark")
    for attempt in sorted(attempts, key=lambda attempt: attempt.site.name):
        days = str(len(json.loads(attempt.days))) if attempt.past_fetched else ""
        table.add_row(attempt.site.name, days, attempt.reason)
    if attempts:
        console.print(table)
