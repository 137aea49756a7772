"""The product with trivial jobs, and beside their webhooks a bare view, for bench/delivery.py."""

import django

django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from scheduling.registry import Job, registry  # noqa: E402
from scheduling.run import JobResult, Run  # noqa: E402

#: One job for each connection: a job runs once at a time, and a skipped call would be too cheap.
JOBS = 8


def do_nothing(run: Run) -> JobResult:
    return JobResult(message="Done", counts={"total": 1})


class BareView(APIView):
    authentication_classes: list[type] = []
    permission_classes: list[type] = []

    def post(self, request: Request) -> Response:
        return Response({"success": True, "received": len(request.data)})


for number in range(JOBS):
    registry.register(
        Job(
            key=f"bench-{number}",
            name=f"Benchmark {number}",
            function=do_nothing,
            path=f"bench/{number}",
            cron="0 0 1 1 *",
        )
    )

from soloboard import urls  # noqa: E402 - the routes are made from the registry

urls.urlpatterns.insert(0, path("bare", BareView.as_view()))
application = get_wsgi_application()
