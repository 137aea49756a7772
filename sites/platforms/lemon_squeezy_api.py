"""The calls to Lemon Squeezy: single objects and whole lists of its JSON:API."""

import re
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlencode

from sites.outbound import Client
from sites.platforms import json_api
from sites.platforms.base import (
    ConfigurationRefused,
    CredentialsRefused,
    PlatformError,
    PlatformUnavailable,
)
from sites.platforms.json_api import Json, whole

#: With 100 entries on a page these are 10,000 of them, in a third of what the API takes in a minute.
MAX_CALLS = 100
PAGE_SIZE = 100  # The most that the vendor's own library asks for; 10 when nothing is said.

_MEDIA_TYPE = "application/vnd.api+json"


def made_at(entry: Json) -> datetime:
    """Return when an object was made. ValueError without a zone."""
    moment = datetime.fromisoformat(entry["attributes"]["created_at"])
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def currency_code(code: Json) -> str:
    """Return an ISO 4217 code. ValueError for anything else."""
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError("no currency of ISO 4217")
    return str(code)


class Account:
    """The calls of one fetch.

    store_id: of the only store that is meant; '' for all of the account.
    calls: their answers, in order.
    """

    def __init__(self, client: Client, origin: str, key: str, store_id: str) -> None:
        self._client = client
        self._origin = origin
        self._store_id = store_id
        self._headers = {
            "Accept": _MEDIA_TYPE,
            "Content-Type": _MEDIA_TYPE,
            "Authorization": f"Bearer {key}",
        }
        self.calls: list[json_api.JsonAnswer] = []

    async def currencies(self) -> dict[int, str]:
        """Return the currency of each store that is meant, by its ID."""
        if self._store_id:
            document = await self.get(f"stores/{self._store_id}")
            with json_api.reading("Lemon Squeezy's"):
                stores = [document["data"]]
        else:
            stores = []
            await self.read_list("stores", stores.append)
        with json_api.reading("Lemon Squeezy's"):
            currencies = {int(s["id"]): currency_code(s["attributes"]["currency"]) for s in stores}
        if not currencies:
            raise ConfigurationRefused("this Lemon Squeezy account has no store yet")
        return currencies

    async def read_list(
        self,
        path: str,
        read: Callable[[Json], object],
        *,
        since: datetime | None = None,
        **filters: str,
    ) -> None:
        """Hand the entries of a list to `read`, page by page, those made last first.

        since: ends with the page that reaches further back; no list can be asked for by date.
        """
        if self._store_id:
            filters["store_id"] = self._store_id
        query: dict[str, str | int] = {f"filter[{name}]": filters[name] for name in filters}
        seen: set[str] = set()
        page, last_page = 1, 1
        while page <= last_page:
            # By number, because the links of an answer could lead anywhere.
            query |= {"page[number]": page, "page[size]": PAGE_SIZE}
            document = await self.get(f"{path}?{urlencode(query)}")
            with json_api.reading("Lemon Squeezy's"):
                last_page = whole(document["meta"]["page"]["lastPage"])
                # An order made meanwhile moves an older one to the next page, which shows it again.
                entries = [entry for entry in document["data"] if entry["id"] not in seen]
                seen.update(entry["id"] for entry in entries)
                for entry in entries:
                    read(entry)
                if since and entries and made_at(entries[-1]) < since:
                    return
            page += 1

    async def get(self, path: str) -> Json:
        """Return the document at a path."""
        if len(self.calls) == MAX_CALLS:
            raise PlatformUnavailable(
                f"this Lemon Squeezy account has more than {MAX_CALLS} pages of orders and "
                "subscriptions for the days wanted; nothing was counted, because a part of them "
                "would be wrong"
            )
        called = await json_api.call(
            self._client,
            "GET",
            f"{self._origin}/v1/{path}",
            headers=self._headers,
            refusal=lambda status, data: self._refusal(status, path),
        )
        self.calls.append(called)
        return called.data

    def _refusal(self, status: int, path: str) -> PlatformError | None:
        if status == 403:
            return CredentialsRefused(
                "Lemon Squeezy answered 403 Forbidden: the key lacks a right; it has those of the "
                "user who made it, so let the owner of the store make one"
            )
        if status == 404 and path == f"stores/{self._store_id}":
            return ConfigurationRefused(
                f"Lemon Squeezy shows this key no store with the ID {self._store_id}; take the ID "
                "from Settings, Stores, and a key of the same account"
            )
        return None
