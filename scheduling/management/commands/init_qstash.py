from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scheduling.models import ScheduledJob, ScheduleRemoval
from scheduling.qstash import QStashProblem
from scheduling.registry import registry
from scheduling.sync import Plan, make_plan, reconcile
from scheduling.tariffs import TARIFFS, DoesNotFit, Tariff, fit, messages_per_day


class Command(BaseCommand):
    help = (
        "Creates the default schedules and brings QStash in line with all of them. Safe to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="print the plan and change nothing"
        )

        parser.add_argument(
            "--plan",
            choices=TARIFFS,
            help="choose cadences of the default schedules that this plan of Upstash holds, in place of those "
            "that the rows have; without it no row is changed",
        )

    def handle(self, *args: Any, dry_run: bool, plan: str | None, **options: Any) -> None:
        cadences = self._choose(TARIFFS[plan]) if plan else {}
        self._reconcile(cadences, dry_run=dry_run)

    def _choose(self, tariff: Tariff) -> dict[str, str]:
        """Choose the cadences of the default schedules that are not paused, and print them."""
        rows = {row.key: row for row in ScheduledJob.objects.all()}
        proposed = {
            job.key: job.cron
            for job in registry.scheduled
            if job.key not in rows or rows[job.key].enabled
        }
        others = [row for key, row in rows.items() if row.enabled and key not in proposed]
        taken = sum(messages_per_day(row.cron) for row in others)
        schedules = len(rows | proposed)
        if schedules > tariff.schedules:
            raise CommandError(
                f"There are {schedules} schedules, paused ones included, and {tariff.name} takes "
                f"{tariff.schedules}. Delete some."
            )
        try:
            chosen = fit(tariff, proposed, others=taken)
        except DoesNotFit as error:
            raise CommandError(str(error)) from error
        self._print_choice(tariff, chosen, others=len(others), taken=taken)
        return chosen

    def _print_choice(
        self, tariff: Tariff, chosen: dict[str, str], *, others: int, taken: int
    ) -> None:
        limit = f"{tariff.messages_per_day:,}" if tariff.messages_per_day else "any number of"
        self.stdout.write(
            f"Upstash's plan {tariff.name} ({tariff.price}) holds {limit} messages a day:"
        )
        total = taken
        for key, cron in chosen.items():
            per_day = messages_per_day(cron)
            total += per_day
            proposed = registry[key].cron
            slowed = f" instead of {proposed}" if cron != proposed else ""
            self.stdout.write(f"{per_day:>9,}  {key}: {cron}{slowed}")
        if others:
            self.stdout.write(f"{taken:>9,}  {others} other schedule(s), left as they are")
        self.stdout.write(f"{total:>9,}  together, without retries")

    def _reconcile(self, cadences: dict[str, str], *, dry_run: bool) -> None:
        try:
            plan = make_plan(cadences) if dry_run else reconcile(cadences)
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
        for key, cadences in plan.change.items():
            self.stdout.write(self.style.WARNING(f"{would}change   {key} ({cadences})"))
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
