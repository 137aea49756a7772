import getpass
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import IO, Any, cast

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.table import Table

from recommendations.jobs import EVALUATE_RECOMMENDATIONS
from recommendations.models import ReplayFigures
from scheduling.management.commands.run_job import finish
from scheduling.models import JobRun
from scheduling.registry import registry
from scheduling.runner import Call

COLUMNS = (
    "Users", "Number", "Lists", "HR@10", "NDCG@10", "Recall@20", "Coverage", "NDCG@10 over trending",
)  # fmt: skip

FILE_WIDTH = 120


class Command(BaseCommand):
    help = "Replays the stored history, and prints what the lists would have been worth."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--last", action="store_true", help="print the last figures, without a replay"
        )

    def handle(self, *args: Any, last: bool, **options: Any) -> None:
        # Rich writes to anything with write(), as Django's wrapper of stdout has; where that is no
        # terminal, it would cut the table to 80 columns.
        console = Console(
            file=cast("IO[str]", self.stdout),
            width=None if self.stdout.isatty() else FILE_WIDTH,
            highlight=False,
            markup=False,
        )
        before = ReplayFigures.objects.first()
        if not last:
            call = Call(trigger=JobRun.Trigger.COMMAND, caller=getpass.getuser())
            outcome = finish(registry[EVALUATE_RECOMMENDATIONS], call)
            console.print(str(outcome.answer and outcome.answer["message"]))
        figures = ReplayFigures.objects.first()
        if figures is not None and (last or figures != before):
            console.print(_table(figures.rows))


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(*COLUMNS)
    for row in rows:
        mean, low, high = row["gain"]
        table.add_row(
            row["group"],
            f"{row['users']:,}",
            row["method"],
            *(f"{row[name]:.4f}" for name in ("hit_10", "ndcg_10", "recall_20", "coverage")),
            "" if row["method"] == "trending" else f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]",
            end_section=row["method"] == "popular",
        )
    return table
