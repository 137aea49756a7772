"""The JSON answers of the API, errors included. None of them holds a traceback or a secret."""

from typing import Any

from django.core.exceptions import DisallowedHost
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from scheduling.qstash import QStashProblem
from scheduling.runner import SERVICE_AWAY, SERVICE_RETRY_AFTER_S, Ending, Outcome, timestamp

#: QStash gives up on a message that is answered so, instead of trying it again.
NON_RETRYABLE_STATUS = 489
NON_RETRYABLE_HEADER = {"Upstash-NonRetryable-Error": "true"}


def error_body(message: str, **details: Any) -> dict[str, Any]:
    return {"success": False, "error": message, **details, "timestamp": timestamp()}


def answer_outcome(outcome: Outcome, *, to_qstash: bool) -> Response:
    """Turn the ending of a run into the answer that makes QStash do the right thing next."""
    match outcome.ending:
        case Ending.DONE | Ending.REPEATED | Ending.SKIPPED:
            return Response(outcome.answer)
        case Ending.STILL_RUNNING | Ending.RETRY_LATER:
            return retry_later(outcome.error, outcome.retry_after_s)
        case Ending.REFUSED:
            return refusal(outcome.error, to_qstash=to_qstash)
        case Ending.FAILED:
            return Response(
                error_body("The job failed; its run in the admin says where."), status=500
            )


def retry_later(message: str, retry_after_s: int) -> Response:
    return Response(error_body(message), status=503, headers={"Retry-After": str(retry_after_s)})


def refusal(message: str, *, to_qstash: bool) -> Response:
    """Refuse what can never succeed."""
    if to_qstash:
        return Response(
            error_body(message), status=NON_RETRYABLE_STATUS, headers=NON_RETRYABLE_HEADER
        )
    return Response(error_body(message), status=400)


def answer_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler: one shape for every error."""
    if isinstance(error, SERVICE_AWAY):
        return retry_later("The database or Redis is away.", SERVICE_RETRY_AFTER_S)
    if isinstance(error, DataError):
        # Nearly always a zero byte in an address or a query; JSON with one is refused earlier.
        return Response(error_body("PostgreSQL cannot hold one of the values."), status=400)
    if isinstance(error, QStashProblem):
        return Response(error_body(str(error)), status=502)
    if isinstance(error, DjangoValidationError):
        error = exceptions.ValidationError(
            error.message_dict if hasattr(error, "error_dict") else error.messages
        )
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        response.data = error_body("Some fields are not valid.", fields=response.data)
    else:
        response.data = error_body(str(response.data.get("detail", response.data)))
    return response


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404: JSON below /api/, a page elsewhere."""
    if not request.path.startswith("/api/"):
        return defaults.page_not_found(request, exception)
    message = f"There is nothing at {request.path}. The routes have no trailing slash; /api/schema lists them."
    return JsonResponse(error_body(message), status=404)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400: JSON below /api/, a page elsewhere."""
    if not request.path.startswith("/api/"):
        return defaults.bad_request(request, exception)
    hint = "Check APP_URL and ALLOWED_HOSTS. " if isinstance(exception, DisallowedHost) else ""
    message = f"The request is not acceptable. {hint}{exception}"
    return JsonResponse(error_body(message), status=400)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500: JSON below /api/, so that QStash tries again; a page elsewhere."""
    if not request.path.startswith("/api/"):
        return defaults.server_error(request)
    return JsonResponse(error_body("An internal error; the log says more."), status=500)
