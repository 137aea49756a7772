from django.apps import AppConfig
from django.db.models.signals import post_save


class SitesConfig(AppConfig):
    name = "sites"

    def ready(self) -> None:
        from sites.incidents import close_when_disabled

        post_save.connect(close_when_disabled, sender="sites.MonitoredSite")
