"""What the vendors' APIs have in common, as far as tests bring it about."""

from abc import ABC, abstractmethod

from tests.sites.loopback import Request


class Vendor(ABC):
    """An account at a vendor; called with a request, it gives the answer that its API would.

    page_limit: no page holds more, whatever is asked for.
    key_is_revoked, lacks_rights, is_throttled: refuse with the vendor's own status and body.
    instead: answers given in place of the vendor's own, by the number of the request from 1 on.
    requests: what came in for figures, in order.
    """

    page_limit = 100
    key_is_revoked = False
    lacks_rights = False
    is_throttled = False

    def __init__(self) -> None:
        self.instead: dict[int, bytes] = {}
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> bytes:
        self.requests.append(request)
        return self.instead.get(len(self.requests)) or self.answer(request)

    @abstractmethod
    def answer(self, request: Request) -> bytes:
        """Answer as the vendor does."""
