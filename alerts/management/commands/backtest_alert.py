from argparse import ArgumentParser
from datetime import timedelta
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rich.console import Console
from rich.table import Table

from alerts.backtesting import Backtest, backtest
from alerts.models import AlertRule
from alerts.rules import RULES
from alerts.rules.base import in_words

FILE_WIDTH = 160
MOST_DAYS = 400


class Command(BaseCommand):
    help = "Prints when a rule would have fired over the stored history."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("rule", metavar="RULE", help="the name of the rule, or its number")
        parser.add_argument("--days", type=int, default=30, help="how far to look back (30)")

    def handle(self, *args: Any, rule: str, days: int, **options: Any) -> None:
        if not 1 <= days <= MOST_DAYS:
            raise CommandError(f"--days must be from 1 to {MOST_DAYS}.")
        now = timezone.now()
        found = backtest(_find(rule), now - timedelta(days=days), now)
        # Rich writes to anything with write(), as Django's wrapper of stdout has; where that is no
        # terminal, it would cut the table to 80 columns.
        console = Console(
            file=cast("IO[str]", self.stdout),
            width=None if self.stdout.isatty() else FILE_WIDTH,
            highlight=False,
            markup=False,
        )
        if found.firings:
            console.print(_table(found))
        console.print(
            f"{len(found.firings)} alerts in {days} days, {found.per_week:.2g} a week, of "
            f"{found.targets} watched; judged every {in_words(found.every)}."
        )
        if found.unknown:
            console.print(
                f"{found.unknown_percent} % of the judgements could not be made, the last one because: "
                f"{found.unknown_reason}"
            )


def _find(text: str) -> AlertRule:
    rules = AlertRule.objects.all()
    found = rules.filter(name=text).first()
    if found is None and text.isascii() and text.isdecimal():
        found = rules.filter(pk=int(text)).first()
    if found is None:
        names = ", ".join(map(str, rules)) or "none"
        raise CommandError(f"There is no rule {text!r}; there are: {names}.")
    if found.kind not in RULES:
        raise CommandError(f"The code of the kind {found.kind!r} has gone.")
    return found


def _table(found: Backtest) -> Table:
    table = Table("When (UTC)", "About", "Lasted", "Why")
    for firing in found.firings:
        lasted = in_words(firing.duration(found.end))
        table.add_row(
            f"{firing.opened_at:%Y-%m-%d %H:%M}",
            firing.about,
            lasted if firing.closed_at else f"{lasted}, still open",
            firing.reason,
        )
    return table
