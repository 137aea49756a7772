"""Checking what somebody enters for a site: the rules of its platform, the same for the admin and
the API.
"""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from sites.platforms.base import Platform


def clean_options(platform: Platform, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they are stored. A name that is missing counts as empty.

    Raises ValidationError with a list of messages by field.
    """
    _refuse_unknown(platform.Options, values)
    return _clean(platform.Options(values))


def clean_credentials(
    platform: Platform,
    options: Mapping[str, Any],
    typed: Mapping[str, Any],
    stored: Mapping[str, str],
) -> dict[str, str]:
    """Return the credentials to store: what was typed, and for the rest what is stored already.

    Raises ValidationError with a list of messages by field, none of which repeats a value.
    """
    _refuse_unknown(platform.Credentials, typed)
    given = _clean(_form_of_given(platform, typed))
    credentials = {**stored, **{name: value for name, value in given.items() if value}}
    missing = platform.required_credentials(options) - set(credentials)
    if missing:
        raise ValidationError(dict.fromkeys(missing, "These options need this credential."))
    return credentials


def _form_of_given(platform: Platform, typed: Mapping[str, Any]) -> forms.Form:
    """Leave out the fields that stayed empty: what is stored stands in for them, or nothing need."""
    form = platform.Credentials(typed)
    for name in [name for name in form.fields if not typed.get(name)]:
        del form.fields[name]
    return form


def _refuse_unknown(form: type[forms.Form], values: Mapping[str, Any]) -> None:
    unknown = sorted(set(values) - set(form.base_fields))
    if unknown:
        known = ", ".join(form.base_fields) or "none"
        raise ValidationError({unknown[0]: f"There is no such field; there are: {known}."})


def _clean(form: forms.Form) -> dict[str, Any]:
    if not form.is_valid():
        raise ValidationError({name: list(errors) for name, errors in form.errors.items()})
    return form.cleaned_data
