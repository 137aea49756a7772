"""Who may call a webhook: QStash by its signature, a Bearer secret, or staff with a session."""

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import RequestDataTooBig
from django.utils.crypto import constant_time_compare
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from scheduling.signatures import Signature, SignatureRefused, verify

logger = logging.getLogger(__name__)

SIGNATURE_HEADER = "Upstash-Signature"
MESSAGE_ID_HEADER = "Upstash-Message-Id"
WHAT_TO_SEND = (
    "Send 'Authorization: Bearer <CRON_SECRET>' with the CRON_SECRET of this installation, "
    "or call through QStash."
)


class PayloadTooLarge(exceptions.APIException):
    status_code = 413
    default_code = "payload_too_large"


class LengthRequired(exceptions.APIException):
    status_code = 411
    default_code = "length_required"
    default_detail = "Send the body with a Content-Length, not in chunks."


class Caller(AnonymousUser):
    """QStash or the holder of the Bearer secret: trusted with the webhooks, and no user of the
    admin.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def get_username(self) -> str:
        return self.name

    @property
    def is_authenticated(self) -> Any:
        return True

    @property
    def is_anonymous(self) -> Any:
        return False


class QStashSignatureAuthentication(BaseAuthentication):
    """A request with a signature stands or falls with it; nothing else is tried after a bad one."""

    def authenticate(self, request: Request) -> tuple[Caller, Signature] | None:
        token = request.headers.get(SIGNATURE_HEADER)
        if token is None:
            return None
        try:
            signature = verify(
                token,
                body=raw_body(request),
                url=_published_url(request),
                keys=[settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY],
            )
        except SignatureRefused as error:
            logger.warning(
                "QStash signature refused on %s (message %s): %s",
                request.path,
                request.headers.get(MESSAGE_ID_HEADER, "without an id"),
                error,
            )
            raise exceptions.AuthenticationFailed(
                "The QStash signature is not valid for this address. Check the signing keys, APP_URL and the "
                "clock; the log says which of them it was."
            ) from error
        self._warn_of_stale_secret(request)
        return Caller("QStash"), signature

    def authenticate_header(self, request: Request) -> str:
        # The first class decides between 401 and 403, and this makes it 401.
        return 'Bearer realm="SoloBoard"'

    def _warn_of_stale_secret(self, request: Request) -> None:
        # The signature proves the sender. A forwarded secret that is out of date only tells that
        # the schedule was pushed before CRON_SECRET changed, and dropping its calls until then
        # would help nobody.
        if "Authorization" in request.headers and not _carries_cron_secret(request):
            logger.warning(
                "QStash forwards an old CRON_SECRET to %s; push the schedule again.", request.path
            )


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <CRON_SECRET>`, compared in constant time."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        if not request.headers.get("Authorization", "").lower().startswith("bearer"):
            return None
        if not _carries_cron_secret(request):
            logger.warning("Bearer secret refused on %s", request.path)
            raise exceptions.AuthenticationFailed(f"The Bearer secret is wrong. {WHAT_TO_SEND}")
        return Caller("Bearer"), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="SoloBoard"'


class IsTrustedCaller(BasePermission):
    """QStash, the holder of the Bearer secret, or staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            raise exceptions.NotAuthenticated(f"This call carries no credential. {WHAT_TO_SEND}")
        return isinstance(request.user, Caller) or bool(request.user.is_staff)


WEBHOOK_AUTHENTICATION = [
    QStashSignatureAuthentication,
    BearerAuthentication,
    SessionAuthentication,
]


def raw_body(request: Request) -> bytes:
    """The body as it came. Raises PayloadTooLarge or LengthRequired; must be called before anything
    parses the request.
    """
    if "Transfer-Encoding" in request.headers and not request.headers.get("Content-Length"):
        # Django reads such a body as an empty one (ticket 28668), which would mean another call.
        raise LengthRequired
    try:
        return request._request.body
    except RequestDataTooBig as error:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raise PayloadTooLarge(f"The body is larger than {limit} bytes.") from error


def is_from_qstash(request: Request) -> bool:
    return isinstance(request.auth, Signature)


def _carries_cron_secret(request: Request) -> bool:
    _, _, secret = request.headers["Authorization"].partition(" ")
    return bool(settings.CRON_SECRET) and constant_time_compare(
        secret.strip(), settings.CRON_SECRET
    )


def _published_url(request: Request) -> str:
    query = request.META.get("QUERY_STRING", "")
    return settings.APP_URL + request.path_info + (f"?{query}" if query else "")
