from typing import Any

from django.core.checks import CheckMessage, run_checks
from django.core.management.base import BaseCommand, CommandError

from scheduling.qstash import QStashProblem, connect


class Command(BaseCommand):
    help = "Checks the settings that QStash needs, connects to it, and says what is wrong and how to mend it."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        problems = [message for message in run_checks() if _concerns_qstash(message)]
        for problem in problems:
            self.stdout.write(
                f"{'❌' if problem.is_serious() else '⚠️'} {problem.msg}\n   {problem.hint}"
            )
        if any(problem.is_serious() for problem in problems):
            raise CommandError("Mend the settings above and run this again.")
        self._connect()

    def _connect(self) -> None:
        try:
            with connect() as qstash:
                schedules = qstash.list_schedules()
        except QStashProblem as error:
            raise CommandError(f"❌ {error}") from error
        self.stdout.write("✅ QStash client initialized successfully")
        self.stdout.write(f"✅ Found {len(schedules)} existing schedule(s)")


def _concerns_qstash(message: CheckMessage) -> bool:
    return str(message.id).startswith("scheduling.")
