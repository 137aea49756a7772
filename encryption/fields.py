"""A model field whose values are encrypted before they reach the database."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from encryption.keyring import keyring

if TYPE_CHECKING:
    _TextField = models.TextField[dict[str, str], dict[str, str]]
else:
    _TextField = models.TextField


class EncryptedDictField(_TextField):
    """Named secrets, for instance the credentials of a platform: a dict in Python, one token in the
    database.

    The names are encrypted along with the values. The field is not editable: a form or an API that
    takes secrets does so on purpose, and none shows them again by accident.
    Raises DecryptionFailed on reading when the key is missing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("default", dict)
        kwargs.update(editable=False, blank=True)
        super().__init__(*args, **kwargs)

    def from_db_value(
        self, value: str | None, expression: Any, connection: BaseDatabaseWrapper
    ) -> dict[str, str] | None:
        if value is None:
            return None
        return self.to_python(keyring().decrypt(value)) if value else {}

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str | None:
        if value is None:
            return None
        return keyring().encrypt(json.dumps(value, sort_keys=True)) if value else ""

    def value_to_string(self, obj: models.Model) -> str:
        # dumpdata would otherwise write the plain text into a fixture.
        return str(self.get_prep_value(self.value_from_object(obj)) or "")
