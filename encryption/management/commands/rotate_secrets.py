from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from encryption.rotation import rotate

#: Of the rows that cannot be read; the same key is usually missing for all of them.
SHOWN = 10


class Command(BaseCommand):
    help = (
        "Encrypts all stored secrets anew with the first key of SOLOBOARD_SECRET_KEYS, so that the "
        "others can be removed. Works while the app serves, and may be repeated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="only say what there is to be done"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run: bool = options["dry_run"]
        verb = "to be encrypted anew" if dry_run else "encrypted anew"
        left, unreadable = 0, []
        for rotated in rotate(dry_run=dry_run):
            self.stdout.write(
                f"{rotated.column}: {rotated.rewritten} {verb}, {rotated.already_new} have the first "
                f"key already, {len(rotated.unreadable)} cannot be read"
            )
            left += rotated.rewritten if dry_run else 0
            unreadable += rotated.unreadable
        if unreadable:
            lines = "\n".join(unreadable[:SHOWN])
            more = f"\nand {len(unreadable) - SHOWN} more" if len(unreadable) > SHOWN else ""
            raise CommandError(
                f"{lines}{more}\nThese were left as they are. Add the missing key to the end of "
                "SOLOBOARD_SECRET_KEYS and run this again, or enter these secrets again in the admin. "
                "Remove no key before this command ends without a complaint."
            )
        self.stdout.write(
            "Run this again without --dry-run."
            if left
            else "The first key reads every stored secret; the others may be removed."
        )
