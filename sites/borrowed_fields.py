"""Fields that a form of the admin borrows from the form of a platform or another kind of thing."""

import copy
from collections.abc import Mapping
from typing import Any

from django import forms
from django.forms.utils import pretty_name

#: The help text of a secret.
STORED = "Stored, and never shown again. Leave empty to keep it."


def borrowed(prefix: str, fields: Mapping[str, forms.Field]) -> dict[str, forms.Field]:
    """Copies under names with the prefix, and under their own labels."""
    copies = {prefix + name: copy.deepcopy(field) for name, field in fields.items()}
    for name, field in copies.items():
        # Django would make a label of the whole name, prefix included.
        field.label = field.label or pretty_name(name.removeprefix(prefix))
    return copies


def borrowed_secrets(prefix: str, fields: Mapping[str, forms.Field]) -> dict[str, forms.Field]:
    """Copies that are never shown. Whether one is needed depends on what is stored, so none is."""
    copies = borrowed(prefix, fields)
    for field in copies.values():
        field.required = False
        field.widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    return copies


def typed(form: forms.BaseForm, prefix: str) -> dict[str, Any]:
    """The posted values of the borrowed fields, by their own names; an unticked box is missing."""
    names = [name for name in form.fields if name.startswith(prefix)]
    return {
        name.removeprefix(prefix): form.data[form.add_prefix(name)]
        for name in names
        if form.add_prefix(name) in form.data
    }
