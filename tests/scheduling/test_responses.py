"""What errors that no view expects are answered. The expected ones: test_webhooks.py."""

import pytest
from django.test import Client


@pytest.mark.parametrize("path", ["/api/runs?job=%00", "/api/jobs/%00"])
def test_a_zero_byte_in_an_address_is_the_callers_mistake(admin_client: Client, path: str) -> None:
    answer = admin_client.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"] == "PostgreSQL cannot hold one of the values."
