from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from recommendations.forgetting import forget


class Command(BaseCommand):
    help = "Deletes a user's actions, vector, cached lists and queued actions. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user_id", help="the id by which the application calls the user")

    def handle(self, *args: Any, user_id: str, **options: Any) -> None:
        for name, count in forget(user_id).counts().items():
            self.stdout.write(f"{name.replace('_', ' ')}: {count}")
