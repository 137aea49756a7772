"""What all tests share beside the servers of services.py."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # WhiteNoise says so when nothing was collected into staticfiles/; the files are then served
    # from the apps themselves.
    config.addinivalue_line("filterwarnings", "ignore:No directory at:UserWarning")
