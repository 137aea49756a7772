"""One route for each path of the registered jobs, and the API of schedules and runs. No trailing
slashes.
"""

from django.urls import path
from rest_framework.routers import SimpleRouter

from scheduling.api import JobRunViewSet, ScheduledJobViewSet
from scheduling.registry import registry
from scheduling.views import InitView, JobWebhook, MinuteWebhook

router = SimpleRouter(trailing_slash=False)
router.register("jobs", ScheduledJobViewSet)
router.register("runs", JobRunViewSet)

urlpatterns = [
    *(path(job_path, JobWebhook.as_view(path=job_path)) for job_path in registry.paths),
    path("ticks/<slug:key>", MinuteWebhook.as_view(), name="ticks"),
    path("init", InitView.as_view(), name="init"),
    *router.urls,
]
