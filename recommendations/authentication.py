"""Who may call the API of recommendations: applications with a token, and staff with a session."""

import logging
from typing import Any

from django.contrib.auth.models import AnonymousUser
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from recommendations import tokens
from recommendations.models import ApplicationToken

logger = logging.getLogger(__name__)

WHAT_TO_SEND = (
    "Send 'Authorization: Bearer sb_…' with a token of this application; the admin makes them."
)


class Application(AnonymousUser):
    """The holder of a token. It is no user of the admin, and never staff."""

    def __init__(self, token: ApplicationToken) -> None:
        super().__init__()
        self.token = token

    def get_username(self) -> str:
        return self.token.name

    @property
    def is_authenticated(self) -> Any:
        return True

    @property
    def is_anonymous(self) -> Any:
        return False


class ApplicationTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer sb_…`."""

    def authenticate(self, request: Request) -> tuple[Application, ApplicationToken] | None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = tokens.find(secret.strip())
        if token is None:
            logger.warning("Application token refused on %s", request.path)
            raise exceptions.AuthenticationFailed(
                f"The token is unknown or was revoked. {WHAT_TO_SEND}"
            )
        tokens.note_use(token)
        return Application(token), token

    def authenticate_header(self, request: Request) -> str:
        # The first class decides between 401 and 403, and this makes it 401.
        return 'Bearer realm="SoloBoard"'


class IsApplication(BasePermission):
    """An application, or staff who look at what it would get."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            raise exceptions.NotAuthenticated(f"This call carries no credential. {WHAT_TO_SEND}")
        return isinstance(request.user, Application) or bool(request.user.is_staff)


APPLICATION_AUTHENTICATION = [ApplicationTokenAuthentication, SessionAuthentication]
