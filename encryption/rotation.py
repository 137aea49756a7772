"""Writing all stored secrets anew with the newest key, while the app serves."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import models, transaction
from django.db.models.functions import Cast

from encryption.fields import EncryptedDictField
from encryption.keyring import DecryptionFailed, keyring

#: Rows that are locked at a time; whoever saves one of them waits for a few milliseconds.
BATCH_SIZE = 100


@dataclass
class Rotated:
    """What was done in one column.

    unreadable: a line for each row whose secret no key at hand can read; it was left as it is.
    """

    column: str
    rewritten: int = 0
    already_new: int = 0
    unreadable: list[str] = field(default_factory=list)


def rotate(*, dry_run: bool = False) -> Iterator[Rotated]:
    """Encrypt every secret of every model with the newest key; safe to repeat and to break off.

    Each batch is read under the locks it is written with, so that an edit is either in it or comes
    after it. dry_run: count only.
    """
    for model in apps.get_models():
        for column in model._meta.concrete_fields:
            if isinstance(column, EncryptedDictField) and column.model is model:
                yield _rotate_column(model, column.name, dry_run=dry_run)


def _rotate_column(model: type[models.Model], name: str, *, dry_run: bool) -> Rotated:
    rotated = Rotated(column=f"{model._meta.label}.{name}")
    # The database compares and returns the tokens; the field would decrypt them.
    rows = model._base_manager.annotate(token=Cast(name, models.TextField())).order_by("pk")
    after: Any = None
    while True:
        with transaction.atomic():
            batch = rows.exclude(token="").exclude(token=None)
            if after is not None:
                batch = batch.filter(pk__gt=after)
            if not dry_run:
                batch = batch.select_for_update(no_key=True)
            tokens = list(batch.values_list("pk", "token")[:BATCH_SIZE])
            for pk, token in tokens:
                _rotate_row(model, name, pk, token, rotated, dry_run=dry_run)
        if len(tokens) < BATCH_SIZE:
            return rotated
        after = tokens[-1][0]


def _rotate_row(
    model: type[models.Model], name: str, pk: Any, token: str, rotated: Rotated, *, dry_run: bool
) -> None:
    try:
        text = keyring().decrypt(token)
    except DecryptionFailed as error:
        rotated.unreadable.append(f"{rotated.column} of row {pk}: {error}")
        return
    if keyring().is_newest(token):
        rotated.already_new += 1
        return
    rotated.rewritten += 1
    if not dry_run:
        # As a value of another type it passes the field, which would encrypt it once more. Nothing
        # but the column changes: no signal is sent, and no time of the last edit moves.
        renewed = models.Value(keyring().encrypt(text), output_field=models.TextField())
        model._base_manager.filter(pk=pk).update(**{name: renewed})
