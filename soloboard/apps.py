from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class SoloBoardConfig(AppConfig):
    name = "soloboard"

    def ready(self) -> None:
        from soloboard import checks  # noqa: F401 - registers the system checks


class SoloBoardAdminConfig(AdminConfig):
    default_site = "soloboard.admin_site.SoloBoardAdminSite"
