"""What a schedule may hold; each refusal says what is allowed."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from scheduling.cron import CronError
from scheduling.cron import parse as parse_cron
from scheduling.headers import HeaderError, check_header
from scheduling.retry_delay import RetryDelayError, check_retry_delay

validate_label = RegexValidator(
    r"\A[A-Za-z0-9._-]+\Z", "Use letters, digits, dots, dashes and underscores."
)


def validate_http_url(url: str) -> None:
    # Django's URLValidator refuses host names without a dot, which are usual in a home network.
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isascii() or not url.isprintable() or " " in url:
        raise ValidationError(
            "Write a whole address that starts with https:// or http://, without spaces.",
            code="url",
        )


def validate_cron(text: str) -> None:
    try:
        parse_cron(text)
    except CronError as error:
        raise ValidationError(str(error), code="cron") from error


def validate_timezone(name: str) -> None:
    if name not in available_timezones():
        raise ValidationError(
            f"{name!r} is not a time zone. Write an IANA name such as UTC, Europe/Vienna or America/New_York.",
            code="timezone",
        )


def validate_retry_delay(text: str) -> None:
    try:
        check_retry_delay(text)
    except RetryDelayError as error:
        raise ValidationError(str(error), code="retry_delay") from error


def validate_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise ValidationError('Headers are an object of names and values: {"Name": "value"}.')
    for name, value in headers.items():
        if not isinstance(value, str):
            raise ValidationError(f"The value of {name} must be a text.")
        try:
            check_header(name, value)
        except HeaderError as error:
            raise ValidationError(str(error), code="headers") from error
