from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduling.models import ScheduledJob, ScheduleRemoval
from scheduling.qstash import QStashProblem
from scheduling.sync import Plan, make_plan, reconcile


class Command(BaseCommand):
    help = (
        "Creates the default schedules and brings QStash in line with all of them. Safe to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="print the plan and change nothing"
        )

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        try:
            plan = make_plan() if dry_run else reconcile()
        except QStashProblem as error:
            raise CommandError(
                f"{error} Run `manage.py check_qstash` to see what is wrong."
            ) from error
        self._print(plan, "would " if dry_run else "")
        if not dry_run:
            self._refuse_unfinished()

    def _print(self, plan: Plan, would: str) -> None:
        for key in plan.create:
            self.stdout.write(self.style.SUCCESS(f"{would}create   {key}"))
        for key, difference in plan.push.items():
            self.stdout.write(self.style.WARNING(f"{would}push     {key} ({difference})"))
        for schedule_id in plan.remove:
            self.stdout.write(self.style.WARNING(f"{would}remove   {schedule_id}"))
        for key in plan.unchanged:
            self.stdout.write(f"unchanged {key}")
        for schedule_id in plan.unknown:
            self.stdout.write(
                f"unknown   {schedule_id} (at QStash, but no row of this installation; left alone)"
            )
        if plan.is_empty:
            self.stdout.write("Nothing to do.")

    def _refuse_unfinished(self) -> None:
        failed = [
            f"{job.key}: {job.push_error}"
            for job in ScheduledJob.objects.filter(push_status=ScheduledJob.Push.FAILED)
        ]
        failed += [f"{removal}: {removal.last_error}" for removal in ScheduleRemoval.objects.all()]
        if failed:
            raise CommandError("Not everything reached QStash:\n" + "\n".join(failed))
