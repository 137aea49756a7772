"""Made-up secrets that are easy to find again, and settings under which platforms use them."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, cast
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django import forms
from django.apps import apps
from django.db import models

from encryption.fields import EncryptedDictField
from sites.platforms.base import Platform


def service_account(mark: str) -> str:
    """The key file of a service account, with a private key that was made for this call."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {
        "type": "service_account", "project_id": "made-up", "private_key_id": mark, "private_key": pem,
        "client_email": "reader@made-up.iam.gserviceaccount.com", "client_id": "1234567890",
        "token_uri": "https://oauth2.googleapis.com/token",
    }  # fmt: skip
    return json.dumps(account)


#: Forms that vendors give their keys. A platform whose form takes none of them adds its own here.
KEYS = (
    lambda mark: mark,
    lambda mark: f"rk_test_{mark}",
    lambda mark: f"shpat_{mark}",
    service_account,
)
#: What required options take.
OPTIONS = (
    "https://shop.example/figures",
    "visitors = visitors",
    "X-Api-Key",
    "shop.myshopify.com",
    "123456789",
)

#: What the rows of a model need beside made-up texts.
ROWS: dict[str, dict[str, Any]] = {
    "scheduling.ScheduledJob": {
        "key": "backup",
        "cron": "0 0 * * *",
        "url": "https://backup.example/run",
    },
}


def mark() -> str:
    return f"planted{uuid4().hex}"


def credentials(platform: Platform) -> dict[str, str]:
    """A value for every credential of a platform, in a form that the platform takes."""
    return {name: _key(platform, name) for name in platform.Credentials.base_fields}


def _key(platform: Platform, name: str) -> str:
    planted = mark()
    for form in KEYS:
        value = form(planted)
        if name not in platform.Credentials({name: value}).errors:
            return value
    raise AssertionError(f"Add to KEYS what the credential {name!r} of {platform.key} looks like.")


def all_options(platform: Platform) -> Iterator[dict[str, Any]]:
    """Options of a platform with every choice that it offers, one after the other."""
    defaults = platform.options({})
    yield _completed(platform, defaults)
    for name, field in platform.Options.base_fields.items():
        if isinstance(field, forms.ChoiceField):
            for choice, _ in cast("Iterable[tuple[str, str]]", field.choices):
                yield _completed(platform, {**defaults, name: choice})


def _completed(platform: Platform, options: dict[str, Any]) -> dict[str, Any]:
    for _ in range(len(options) + 1):
        form = platform.Options(options)
        if form.is_valid():
            return form.cleaned_data
        name = next(iter(form.errors))
        options = {**options, name: _option(platform, options, name)}
    raise AssertionError(f"{platform.key} takes no options made of OPTIONS: {form.errors}")


def _option(platform: Platform, options: dict[str, Any], name: str) -> str:
    for value in OPTIONS:
        if name not in platform.Options({**options, name: value}).errors:
            return value
    raise AssertionError(f"Add to OPTIONS what the option {name!r} of {platform.key} looks like.")


def plant_in_every_model() -> list[str]:
    """Give every model that has secrets a row that holds one, unless it has one; return them."""
    planted = []
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedDictField) and not _has_secrets(model, field.name):
                value = mark()
                row = {**_required(model), **ROWS.get(model._meta.label, {})}
                model._base_manager.create(**row, **{field.name: {"planted": value}})
                planted.append(value)
    return planted


def _has_secrets(model: type[models.Model], name: str) -> bool:
    return model._base_manager.exclude(**{name: {}}).exists()


def _required(model: type[models.Model]) -> dict[str, Any]:
    """Something for the texts that have no default."""
    return {
        field.name: next((str(value) for value, _ in field.flatchoices), f"made up {field.name}")
        for field in model._meta.concrete_fields
        if isinstance(field, models.CharField) and not (field.has_default() or field.blank)
    }


def needles(secrets: list[str]) -> set[str]:
    """Texts by which a secret is found: marks, lines of private keys, and their disguises."""
    found: set[str] = set()
    for secret in secrets:
        texts = re.findall(r"planted[0-9a-f]{32}|[A-Za-z0-9+/]{40,}", secret.replace("\\n", "\n"))
        assert texts, "a secret without anything to find it by"
        for text in texts:
            raw = text.encode()
            found |= {text, raw.hex()}
            # Of what stands in base64, the middle is the same whatever stands before it.
            found |= {base64.b64encode(raw[start:])[4:-4].decode() for start in range(3)}
    return found
