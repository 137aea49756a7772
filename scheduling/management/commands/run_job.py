import getpass
import json
from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduling.models import JobRun, ScheduledJob
from scheduling.qstash import QStashProblem
from scheduling.registry import Job, registry
from scheduling.runner import Call, Ending, Outcome, run_job
from scheduling.sync import default_row, publish_run


class Command(BaseCommand):
    help = "Runs a job once, here or by way of QStash."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help=f"one of: {', '.join(job.key for job in registry)}")
        parser.add_argument("--payload", default="{}", help="a JSON object, as a webhook's body")
        parser.add_argument(
            "--through-qstash",
            action="store_true",
            help="publish a message, so that the whole way by QStash and the webhook is used",
        )

    def handle(
        self, *args: Any, key: str, payload: str, through_qstash: bool, **options: Any
    ) -> None:
        job = registry.get(key)
        if job is None:
            known = ", ".join(job.key for job in registry)
            raise CommandError(f"No job is registered as {key!r}; there are: {known}.")
        if through_qstash:
            self._publish(job)
        else:
            self._run(job, _read_payload(payload))

    def _publish(self, job: Job) -> None:
        row = ScheduledJob.objects.filter(key=job.key).first() or default_row(job)
        try:
            message_id = publish_run(row, JobRun.Trigger.COMMAND, caller=getpass.getuser())
        except QStashProblem as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"QStash message {message_id} is on its way to {row.destination}")

    def _run(self, job: Job, payload: dict[str, Any]) -> None:
        call = Call(trigger=JobRun.Trigger.COMMAND, caller=getpass.getuser(), payload=payload)
        outcome = finish(job, call)
        self.stdout.write(json.dumps(outcome.answer, indent=2))


def finish(job: Job, call: Call) -> Outcome:
    """Run a job here until nothing of it is left. Raises CommandError with the reason when it did
    not succeed.
    """
    call = replace(call, in_process=True)
    outcome = run_job(job, call)
    while outcome.continuation is not None:
        call = replace(call, trigger=JobRun.Trigger.CONTINUATION, payload=outcome.continuation)
        outcome = run_job(job, call)
    if outcome.ending is Ending.SKIPPED:
        raise CommandError(str(outcome.answer and outcome.answer["message"]))
    if outcome.answer is None:
        raise CommandError(outcome.error)
    return outcome


def _read_payload(text: str) -> dict[str, Any]:
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--payload is not JSON: {error}.") from error
    if not isinstance(payload, dict):
        raise CommandError('--payload must be a JSON object, such as {"sites": ["Shop"]}.')
    return payload
