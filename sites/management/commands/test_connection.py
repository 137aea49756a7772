import getpass
import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from scheduling.validators import validate_timezone
from sites.attempts import GOOD_STATES
from sites.configuration import clean_credentials, clean_options
from sites.models import MonitoredSite
from sites.platforms import PLATFORMS
from sites.platforms.base import Platform
from sites.trying import Trial, try_connection


class Command(BaseCommand):
    help = (
        "Tries the connection of a stored site, or of one that is described here, and stores nothing. "
        "Credentials of one that is described are asked for at the terminal, or read from the standard "
        "input as a JSON object: other users of the machine can read what stands on a command line."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("site", nargs="?", metavar="NAME", help="the name of a stored site")
        which.add_argument("--platform", choices=sorted(PLATFORMS), help="of a site to describe")
        parser.add_argument(
            "--option",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="an option of the platform; those left out take their defaults",
        )
        parser.add_argument("--timezone", default="UTC", help="whose days are meant (UTC)")

    def handle(self, *args: Any, **options: Any) -> None:
        site = _stored(options["site"]) if options["site"] else _described(options)
        self._print(try_connection(site, caller=getpass.getuser()))

    def _print(self, trial: Trial) -> None:
        if trial.state not in GOOD_STATES:
            raise CommandError(f"{trial.verdict} {trial.reason}".strip())
        self.stdout.write(self.style.SUCCESS(f"{trial.verdict} {trial.reason}".strip()))
        for notice in trial.notices:
            self.stdout.write(self.style.WARNING(notice))
        for label, value in trial.findings:
            self.stdout.write(f"  {label}: {value}")


def _stored(name: str) -> MonitoredSite:
    try:
        return MonitoredSite.objects.sealed().get(name=name)
    except MonitoredSite.DoesNotExist:
        raise CommandError(f"There is no site named {name!r}.") from None


def _described(options: dict[str, Any]) -> MonitoredSite:
    platform = PLATFORMS[options["platform"]]
    try:
        validate_timezone(options["timezone"])
        cleaned = clean_options(platform, platform.options({}) | _pairs(options["option"]))
        credentials = clean_credentials(platform, cleaned, _credentials(platform), {})
    except ValidationError as error:
        raise CommandError(_in_words(error)) from error
    return MonitoredSite(
        platform=platform.key,
        options=cleaned,
        credentials=credentials,
        timezone=options["timezone"],
    )


def _pairs(options: list[str]) -> dict[str, str]:
    pairs = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise CommandError(f"Write an option as name=value, not {option!r}.")
        pairs[name] = value
    return pairs


def _credentials(platform: Platform) -> dict[str, Any]:
    names = list(platform.Credentials.base_fields)
    if not names:
        return {}
    if sys.stdin.isatty():
        return {name: getpass.getpass(f"{name} (empty for none): ") for name in names}
    try:
        given = json.loads(sys.stdin.read() or "{}")
    except ValueError:
        # The error holds the text that it could not read.
        raise CommandError("The standard input is no JSON object of credentials.") from None
    if not isinstance(given, dict):
        raise CommandError("The standard input is no JSON object of credentials.")
    return given


def _in_words(error: ValidationError) -> str:
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(f"{name}: {' '.join(faults)}" for name, faults in error.message_dict.items())
