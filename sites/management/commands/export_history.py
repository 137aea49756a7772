from argparse import ArgumentParser, ArgumentTypeError
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sites.history.export import FORMATS, Wish
from sites.models import MonitoredSite


class Command(BaseCommand):
    help = "Writes the history of all sites, or of those that are named, as CSV or JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sites", nargs="*", metavar="NAME", help="names of sites; all without")
        parser.add_argument("--by", choices=["day", "hour"], default="day", help="default: day")
        parser.add_argument("--format", choices=sorted(FORMATS), default="csv", help="default: csv")
        parser.add_argument(
            "--from", type=_day, dest="first", metavar="YYYY-MM-DD", help="the first day"
        )
        parser.add_argument(
            "--to", type=_day, dest="last", metavar="YYYY-MM-DD", help="the last day, included"
        )
        parser.add_argument(
            "--output", type=Path, metavar="FILE", help="instead of standard output"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        wish = Wish(
            by=options["by"],
            site_ids=_ids(options["sites"]),
            first=options["first"],
            last=options["last"],
        )
        _, write = FORMATS[options["format"]]
        if options["output"] is None:
            for text in write(wish):
                self.stdout.write(text, ending="")
            return
        try:
            with options["output"].open("w", encoding="utf-8", newline="") as file:
                file.writelines(write(wish))
        except OSError as error:
            raise CommandError(
                f"{options['output']} cannot be written: {error.strerror}."
            ) from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a day; write 2026-03-31") from error


def _ids(names: list[str]) -> list[int] | None:
    if not names:
        return None
    found = dict(MonitoredSite.objects.filter(name__in=names).values_list("name", "pk"))
    if missing := sorted(set(names) - set(found)):
        raise CommandError(f"There is no site named {missing[0]!r}.")
    return list(found.values())
