import pytest
from django.core.management import call_command


@pytest.mark.django_db
def test_the_migrations_hold_every_model_as_it_is() -> None:
    # Exits with a message when a migration is missing.
    call_command("makemigrations", check=True, dry_run=True, verbosity=1)
