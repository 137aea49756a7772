"""Django's admin under the product's own name."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse


class SoloBoardAdminSite(AdminSite):
    site_header = "SoloBoard"
    site_title = "SoloBoard"
    index_title = "Admin"
    # The header leads to the dashboard and to every list.
    site_url = None
    enable_nav_sidebar = False

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Say what needs attention above the list of what can be edited."""
        # The models are not loaded yet when Django imports this module.
        from soloboard.attention import notices

        return super().index(request, {"notices": list(notices()), **(extra_context or {})})
