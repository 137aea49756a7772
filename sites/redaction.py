"""Keeping credentials out of what is stored and logged, whoever quoted them.

Platforms do not put secrets into their errors. But a vendor may quote a key back, an exception may
show what it was raised over, and what is stored of either is read by more people than the key is for.
"""

import base64
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
#: Shorter values are user names and numbers, which ordinary texts contain by chance.
MIN_LENGTH = 8
#: Parts of a value that is itself a document, such as the lines of a private key.
_PART = re.compile(r"[\w+/=.-]{24,}")


class Redaction:
    """Replaces credentials in texts and in JSON values.

    credentials: their values. Known as well as they are: quoted for a URL or in JSON, in base64 (of
        Basic authentication too, whatever stands before or after it), and in longer parts.
    """

    def __init__(self, credentials: Iterable[str]) -> None:
        forms = {form for value in credentials for form in _forms(value)}
        # The longest first, so that a part does not break up the whole.
        self._forms = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        return text

    def value(self, value: Any) -> Any:
        """Redact every string of a JSON value, names included."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.value(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def _forms(value: str) -> Iterable[str]:
    for part in {value, *_PART.findall(value.replace("\\n", "\n"))}:
        if len(part) < MIN_LENGTH:
            continue
        yield from (part, quote(part, safe=""), quote(part), quote_plus(part))
        yield from (json.dumps(part)[1:-1], repr(part)[1:-1])
        for before in range(3):
            # The characters at the ends depend on what stands beside the value.
            encoded = base64.b64encode(b"\0" * before + part.encode()).decode().rstrip("=")
            core = encoded[(before * 8 + 5) // 6 : len(encoded) - 1]
            yield from (core, core.replace("+", "-").replace("/", "_"))
