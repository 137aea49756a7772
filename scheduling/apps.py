from django.apps import AppConfig


class SchedulingConfig(AppConfig):
    name = "scheduling"

    def ready(self) -> None:
        from scheduling import checks, openapi, signals  # noqa: F401 - they register themselves
        from scheduling.registry import autodiscover

        autodiscover()
