"""The board's own routes, a job that does nothing for each caller, and a view that is nothing else.

A job runs once at a time, so callers at the same time each need one of their own.
"""

from django.urls import include, path
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scheduling.registry import Job, registry
from scheduling.run import JobResult, Run
from scheduling.runner import timestamp
from scheduling.views import JobWebhook

CALLERS = 8
BARE_PATH = "/bench/bare"


class BareView(APIView):
    """Answers as much as a webhook does, and does nothing for it."""

    authentication_classes = ()
    permission_classes = [AllowAny]

    def post(self, request: Request) -> Response:
        result = {"done": 0, "duration": 0}
        return Response(
            {"success": True, "message": "Nothing", "result": result, "timestamp": timestamp()}
        )


def do_nothing(run: Run) -> JobResult:
    return JobResult(message="Nothing", counts={"done": 0})


def webhook_path(caller: int) -> str:
    return f"/api/bench/{caller}"


for number in range(CALLERS):
    registry.register(
        Job(
            key=f"bench-{number}",
            name=f"Benchmark {number}",
            function=do_nothing,
            path=f"bench/{number}",
            cron="0 0 1 1 *",
        )
    )

urlpatterns = [
    *(
        path(f"api/bench/{number}", JobWebhook.as_view(path=f"bench/{number}"))
        for number in range(CALLERS)
    ),
    path(BARE_PATH[1:], BareView.as_view()),
    path("", include("soloboard.urls")),
]
