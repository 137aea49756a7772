import pytest

from alerts.channels.base import Message


@pytest.fixture
def message() -> Message:
    return Message(
        id="6f7d0a52-6a52-4a7e-9d9a-0f3c2c1f9b11",
        title="ALERT: shop: Down",
        text="ALERT: shop: Down\nDown for 10 minutes. no answer",
        url="https://board.example/admin/alerts/alert/1/change/",
        events=[{"event": "opened", "site": "shop"}],
    )
