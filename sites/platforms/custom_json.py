"""Custom JSON: figures from any HTTP address that answers in JSON."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2
from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from sites.outbound import Client
from sites.platforms import json_api, mapping
from sites.platforms.base import (
    ConfigurationRefused,
    FetchRequest,
    Platform,
    Snapshot,
    UrlField,
)

_FIGURES_HELP = (
    "One figure per line: name [unit] = expression * factor. The expression is JMESPath on the "
    "answer; unit and factor may be left out. visitors and sales are counts; revenue needs its "
    "currency, [EUR] for 12.99 or [EUR minor] for 1299, and may have a line for each currency; "
    f"other names are yours (lower case). At most {mapping.MAX_LINES} lines. "
    "Example: revenue [EUR] = sum(orders[].to_number(total))"
)

# RFC 9110, 5.6.2: the characters of a header's name.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OUR_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer"}
)
_ONE_LINE = RegexValidator(r"^[^\x00-\x1f\x7f]*\Z", "Line breaks and tabs do not belong here.")


class Options(forms.Form):
    """Where to ask, how to say who asks, and what to read out of the answer."""

    url = UrlField(label="URL", help_text="With https nobody on the way can read the credentials.")
    method = forms.ChoiceField(choices=[("GET", "GET"), ("POST", "POST")], initial="GET")
    body = forms.CharField(
        initial="",
        required=False,
        max_length=10_000,
        widget=forms.Textarea,
        help_text="JSON to send; for POST only.",
    )
    auth = forms.ChoiceField(
        label="Authentication",
        choices=[
            ("none", "none"),
            ("bearer", "Bearer token"),
            ("basic", "user name and password (Basic)"),
            ("header", "secret in a header"),
            ("query", "secret in a query parameter"),
        ],
        initial="none",
    )
    auth_name = forms.CharField(
        label="Header or parameter",
        initial="",
        required=False,
        max_length=100,
        help_text="Name of the header or query parameter that holds the secret: X-Api-Key.",
    )
    figures = forms.CharField(
        max_length=10_000, widget=forms.Textarea, help_text=_FIGURES_HELP, strip=False
    )

    def clean_body(self) -> str:
        """Refuse a body that is not JSON."""
        body: str = self.cleaned_data["body"]
        try:
            if body:
                json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise ValidationError(f"This is not JSON: {exc}.") from exc
        return body

    def clean_figures(self) -> str:
        """Refuse lines that cannot be read, each with its number."""
        text: str = self.cleaned_data["figures"]
        if not mapping.parse(text):
            raise ValidationError("Enter at least one figure: visitors = stats.visitors")
        return text

    def clean(self) -> dict[str, Any]:
        """Refuse what does not go together."""
        given = self.cleaned_data
        if given.get("body") and given.get("method") == "GET":
            self.add_error("body", "A GET request has no body; choose POST.")
        if given.get("auth") in ("header", "query") and not given.get("auth_name"):
            self.add_error("auth_name", "Enter the name of the header or query parameter.")
        name = given.get("auth_name")
        if given.get("auth") == "header" and name and not _is_free_header(name):
            self.add_error("auth_name", f"'{name}' cannot be the name of a header here.")
        return given


def _is_free_header(name: str) -> bool:
    return bool(_HEADER_NAME.fullmatch(name)) and name.lower() not in _OUR_HEADERS


class Credentials(forms.Form):
    """What the chosen kind of authentication needs."""

    username = forms.CharField(
        label="User name",
        required=False,
        max_length=1000,
        validators=[_ONE_LINE],
        help_text="For Basic authentication.",
    )
    secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=10_000,
        validators=[_ONE_LINE],
        widget=forms.PasswordInput,
        help_text="The token, password or key.",
    )


class CustomJson(Platform):
    """One call to the owner's own address."""

    key = "custom_json"
    name = "Custom JSON"
    description = "Figures from any address that answers in JSON, such as your own application."
    Options = Options
    Credentials = Credentials

    def required_credentials(self, options: Mapping[str, Any]) -> frozenset[str]:
        """Basic authentication may do without a password; many APIs take a key as user name."""
        needed = {"none": "", "basic": "username"}.get(options["auth"], "secret")
        return frozenset({needed} - {""})

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        """Call the address and read the figures out of its answer."""
        options = request.options
        try:
            lines = mapping.parse(options["figures"])
        except ValidationError as exc:
            raise ConfigurationRefused(" ".join(exc.messages)) from exc
        url, headers = _authenticated(options, request.credentials)
        if options["body"]:
            headers["Content-Type"] = "application/json"
        called = await json_api.call(
            client, options["method"], url, headers=headers, content=options["body"].encode()
        )
        return called.snapshot(request, mapping.read(lines, called.data))


def _authenticated(
    options: Mapping[str, Any], credentials: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """Return the URL and the headers that carry the credentials."""
    url, name = options["url"], options["auth_name"]
    username, secret = credentials.get("username", ""), credentials.get("secret", "")
    match options["auth"]:
        case "bearer":
            return url, {"Authorization": f"Bearer {secret}"}
        case "basic":
            pair = base64.b64encode(f"{username}:{secret}".encode()).decode()
            return url, {"Authorization": f"Basic {pair}"}
        case "header":
            return url, {name: secret}
        case "query":
            return str(httpx2.URL(url).copy_merge_params({name: secret})), {}
        case _:
            return url, {}
