import pytest
import trustme


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that the tests' clients may be told to trust."""
    return trustme.CA()
