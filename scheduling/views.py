"""The webhooks: parse the delivery, run the job, answer."""

import json
import logging
from dataclasses import replace
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scheduling.authentication import (
    MESSAGE_ID_HEADER,
    WEBHOOK_AUTHENTICATION,
    Caller,
    IsTrustedCaller,
    is_from_qstash,
    raw_body,
)
from scheduling.errors import PayloadRefused
from scheduling.models import JobRun
from scheduling.qstash import CALLER_HEADER, SCHEDULE_HEADER, TRIGGER_HEADER, QStashProblem
from scheduling.registry import Job, registry
from scheduling.responses import answer_outcome, refusal
from scheduling.runner import Call, Outcome, record_refusal, run_job
from scheduling.signatures import Signature
from scheduling.sync import Plan, make_plan, publish_payload, reconcile
from scheduling.ticks import minute_job

logger = logging.getLogger(__name__)

FORM_TYPE = "application/x-www-form-urlencoded"
MAX_ACTION_SHOWN = 100


class JobWebhook(APIView):
    """Runs a job of this installation.

    QStash calls it with a signature, anybody else with the Bearer secret; staff may POST from this
    page. Where several jobs share an address, `action` in the body chooses one.
    """

    authentication_classes = WEBHOOK_AUTHENTICATION
    permission_classes = [IsTrustedCaller]
    # Django answers HEAD by calling get(), which would run the job.
    http_method_names = ["get", "post", "options"]
    #: Below /api/; set by urls.py.
    path = ""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # A job runs whatever its caller accepts: who cannot be given what they ask for gets JSON.
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        # A link on another site can make a browser with a session GET this, so a session's GET only
        # looks.
        if not isinstance(request.user, Caller):
            return Response({"jobs": [_describe(job) for job in registry.at(self.path)]})
        if not any(job.method == "GET" for job in registry.at(self.path)):
            raise MethodNotAllowed("GET")
        return self._run(request)

    @extend_schema(request=OpenApiTypes.OBJECT, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request) -> Response:
        return self._run(request)

    def _run(self, request: Request) -> Response:
        to_qstash = is_from_qstash(request)
        try:
            payload = _read_payload(request)
            job = _choose_job(self.path, payload)
        except PayloadRefused as error:
            logger.warning("Call of %s refused: %s", request.path, error)
            record_refusal(self._job_key(), _read_call(request, {}), str(error))
            return refusal(str(error), to_qstash=to_qstash)
        outcome = run_job(job, _read_call(request, payload))
        _hand_on(job, outcome)
        return answer_outcome(outcome, to_qstash=to_qstash)

    def _job_key(self) -> str:
        """What a call is recorded under that names no job: the path, where there are several."""
        jobs = registry.at(self.path)
        return jobs[0].key if len(jobs) == 1 else self.path


class MinuteWebhook(APIView):
    """Publishes the ticks of a schedule that fires within minutes.

    QStash calls it once in each of those minutes. It has an address of its own, because that is what
    the signature covers: a captured tick cannot be turned into such a call, nor the other way round.
    """

    authentication_classes = WEBHOOK_AUTHENTICATION
    permission_classes = [IsTrustedCaller]
    http_method_names = ["post", "options"]

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, key: str) -> Response:
        call = _read_call(request, {})
        if is_from_qstash(request):
            call = replace(call, trigger=JobRun.Trigger.MINUTE)
        outcome = run_job(minute_job(key), call)
        return answer_outcome(outcome, to_qstash=is_from_qstash(request))


class InitView(APIView):
    """GET shows what would change at QStash, POST does it."""

    authentication_classes = WEBHOOK_AUTHENTICATION[1:]
    permission_classes = [IsTrustedCaller]

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response({"success": True, "plan": _plan_body(make_plan())})

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request) -> Response:
        return Response({"success": True, "done": _plan_body(reconcile())})


def _read_payload(request: Request) -> dict[str, Any]:
    """Read the body as a JSON object; an empty one, or a browser's form, is an empty object."""
    body = raw_body(request)
    # curl names a form by default whatever it sends, so only a session's form is one.
    is_form = not isinstance(request.user, Caller) and request.content_type.startswith(FORM_TYPE)
    if not body.strip() or is_form:
        return {}
    try:
        payload = json.loads(body.decode())
        _refuse_unstorable(payload)
    except UnicodeError as error:
        raise PayloadRefused("The body is not text in UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise PayloadRefused(f"The body is not JSON: {error}.") from error
    if not isinstance(payload, dict):
        raise PayloadRefused('The body must be a JSON object, such as {"action": "…"}.')
    return payload


def _refuse_unstorable(payload: Any) -> None:
    """Refuse what JSON can hold and PostgreSQL cannot, so that no job has to think of it."""
    text = json.dumps(payload, ensure_ascii=False)
    text.encode()  # Raises UnicodeEncodeError for half of a surrogate pair.
    if "\\u0000" in text.replace("\\\\", ""):
        raise PayloadRefused("The body holds a zero byte (\\u0000), which no text may hold.")


def _choose_job(path: str, payload: dict[str, Any]) -> Job:
    action = payload.pop("action", None)
    if action is not None and not isinstance(action, str):
        raise PayloadRefused('The action must be a text, such as {"action": "…"}.')
    job = registry.find(path, action)
    if job is None:
        known = ", ".join(sorted(job.action for job in registry.at(path) if job.action)) or "none"
        shown = repr(action)[:MAX_ACTION_SHOWN] if action is not None else "missing"
        raise PayloadRefused(f"The action is {shown}; known here: {known}.")
    return job


def _read_call(request: Request, payload: dict[str, Any]) -> Call:
    signature = request.auth
    if not isinstance(signature, Signature):
        return Call(trigger=JobRun.Trigger.API, caller=request.user.get_username(), payload=payload)
    headers = request.headers
    retried = headers.get("Upstash-Retried", "0")
    attempt = (
        int(retried) + 1 if retried.isascii() and retried.isdecimal() and len(retried) < 5 else 1
    )
    return Call(
        trigger=_trigger_of(request, attempt),
        caller=headers.get(CALLER_HEADER, "QStash")[:150],
        payload=payload,
        message_id=headers.get(MESSAGE_ID_HEADER, "")[:200],
        signature_id=signature.id[:200],
        schedule_id=headers.get("Upstash-Schedule-Id", headers.get(SCHEDULE_HEADER, ""))[:200],
        attempt=attempt,
    )


def _trigger_of(request: Request, attempt: int) -> JobRun.Trigger:
    if attempt > 1:
        return JobRun.Trigger.REDELIVERY
    named = request.headers.get(TRIGGER_HEADER, "")
    if named in JobRun.Trigger.values:
        return JobRun.Trigger(named)
    by_schedule = "Upstash-Schedule-Id" in request.headers
    return JobRun.Trigger.SCHEDULE if by_schedule else JobRun.Trigger.API


def _hand_on(job: Job, outcome: Outcome) -> None:
    if outcome.continuation is None:
        return
    try:
        publish_payload(job, JobRun.Trigger.CONTINUATION, outcome.continuation)
    except QStashProblem as error:
        # Nothing is lost: what was not reached is still due, and the next call by schedule takes it
        # up.
        logger.warning("QStash did not take the continuation of %s: %s", job.key, error)


def _describe(job: Job) -> dict[str, Any]:
    last = JobRun.objects.filter(job_key=job.key).first()
    return {
        "key": job.key,
        "name": job.name,
        "description": job.description,
        "body": dict(job.body),
        "last_run": {"started_at": last.started_at, "status": last.status} if last else None,
    }


def _plan_body(plan: Plan) -> dict[str, Any]:
    return {
        "create": plan.create,
        "change": plan.change,
        "push": plan.push,
        "remove": plan.remove,
        "unchanged": plan.unchanged,
        "unknown": plan.unknown,
    }
