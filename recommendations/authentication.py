"""Who may ask for lists: an application by its token, or staff with a session."""

from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


class ApplicationTokenAuthentication(BaseAuthentication):
    """No token is known yet."""

    def authenticate(self, request: Request) -> None:
        return None


class IsApplicationOrStaff(BasePermission):
    """Staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user.is_authenticated and request.user.is_staff)
