"""A platform whose fetches do what a test says."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django import forms

from sites.outbound import Client
from sites.platforms.base import FetchRequest, Platform, Snapshot

Fetch = Callable[[FetchRequest, Client], Awaitable[Any]]


class Scripted(Platform):
    """Calls the function of `fetches` that its option names."""

    key = "scripted"
    name = "Scripted"
    description = "Answers as a test tells it to."

    class Options(forms.Form):
        fetch = forms.CharField()

    class Credentials(forms.Form):
        token = forms.CharField(required=False)

    def __init__(self, **fetches: Fetch) -> None:
        self.fetches = fetches

    async def fetch(self, request: FetchRequest, client: Client) -> Snapshot:
        snapshot: Snapshot = await self.fetches[request.options["fetch"]](request, client)
        return snapshot

    def required_credentials(self, options: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"token"} if options["fetch"] == "with token" else ())
