"""Answers for a host's probes: /healthz says that the process lives, /readyz that it can work."""

import logging
from collections.abc import Callable

from django.core.cache import cache
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class HealthCheckMiddleware:
    """Answers before the host name is checked or https is asked for: a probe comes by address and
    in plain.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == "/healthz":
            return JsonResponse({"status": "alive"})
        if request.path_info == "/readyz":
            return readiness()
        return self.get_response(request)


def readiness() -> JsonResponse:
    """200 when database and cache answer and no migration is pending, else 503 with what is wrong."""
    checks = {"database": _check_database(), "cache": _check_cache()}
    is_ready = all(state == "ok" for state in checks.values())
    body = {"status": "ready" if is_ready else "not ready", "checks": checks}
    return JsonResponse(body, status=200 if is_ready else 503)


def _check_database() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        logger.warning("The database is away: %s", error)
        return "away"
    return f"{len(pending)} migrations pending; run manage.py migrate" if pending else "ok"


def _check_cache() -> str:
    try:
        cache.get("readyz")
    except RedisError as error:
        logger.warning("Redis is away: %s", error)
        return "away"
    return "ok"
