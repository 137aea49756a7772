"""The settings of one machine: what its owner gave, and what var/local.env keeps.

soloboard/env.py reads the same three places in the same order: the process, .env, var/local.env.
So `manage.py` in another terminal works with what runs here.
"""

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

import environ

from soloboard.local import CannotRunError
from soloboard.local.state import State

# Made on the first start and never again.
GENERATED_SECRETS = ("SECRET_KEY", "SOLOBOARD_SECRET_KEYS", "CRON_SECRET")
SECRET_BYTES = 48
PASSWORD_BYTES = 12
# The demo sites lie on this machine; whoever sets one of these decides otherwise.
DEMO = {"SOLOBOARD_DEMO": "true", "ALLOWED_PRIVATE_NETWORKS": "127.0.0.1/32"}


class _File(environ.Env):  # type: ignore[misc]  # django-environ has no types.
    """Reads into this class; django-environ itself would write what it reads into os.environ."""

    ENVIRON: dict[str, str] = {}


def given_variables(project: Path) -> dict[str, str]:
    """What the owner of this machine set, in the process or in .env; a blank value is not set."""
    given: dict[str, str] = {}
    for values in (_read_file(project / ".env"), os.environ):
        given |= {name: value for name, value in values.items() if value.strip()}
    if "NEXT_PUBLIC_APP_URL" in given:
        given.setdefault("APP_URL", given["NEXT_PUBLIC_APP_URL"])
    return given


def port(given: Mapping[str, str], name: str, default: int) -> int:
    """The TCP port that a variable names; CannotRunError when it is none."""
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
        raise CannotRunError(f"{name} is {text!r}; write a port number from 1 to 65535.")
    return int(text)


def write_local_variables(state: State, services: Mapping[str, str]) -> None:
    """Put the addresses of the services into var/local.env, beside the secrets kept there."""
    path = state.root / "local.env"
    kept = _read_file(path)
    made = {
        name: kept.get(name) or secrets.token_urlsafe(SECRET_BYTES) for name in GENERATED_SECRETS
    }
    lines = [f"{name}={value}" for name, value in {**made, **DEMO, **services}.items()]
    _write_private(path, "# Written by `make run`.\n" + "\n".join(lines) + "\n")


def admin_password_file(state: State) -> Path:
    """The file with the first password of `admin`, made on the first start."""
    path = state.root / "admin-password"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
    return path


def _read_file(path: Path) -> dict[str, str]:
    if path.exists():
        _File.ENVIRON = {}
        _File.read_env(path)
        return _File.ENVIRON
    return {}


def _write_private(path: Path, text: str) -> None:
    """Write the whole file or nothing, readable by this account alone."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
