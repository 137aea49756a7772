"""The environment, read once: the process, then `.env`, then what `make run` wrote for this
machine.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

#: What the product cannot run without, and what to set when it is missing.
REQUIRED = {
    "SECRET_KEY": "a long random text: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
    "SOLOBOARD_SECRET_KEYS": "the key that encrypts stored credentials: "
    "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
    "CRON_SECRET": "the Bearer secret of the webhooks: "
    "python -c 'import secrets; print(secrets.token_urlsafe(32))'",
    "APP_URL": "the public address of this installation, for instance https://board.example.com",
    "DATABASE_URL": "postgresql://USER:PASSWORD@HOST:5432/NAME (PostgreSQL 15 or newer)",
    "REDIS_URL": "redis://HOST:6379/0 (Redis 6.2 or newer, or Valkey)",
    "QSTASH_TOKEN": "the token from the QStash console",
    "QSTASH_CURRENT_SIGNING_KEY": "the current signing key from the QStash console",
    "QSTASH_NEXT_SIGNING_KEY": "the next signing key from the QStash console",
}

#: Older names that are still read, and the names they stand for.
ALIASES = {"NEXT_PUBLIC_APP_URL": "APP_URL"}

#: How a kind of action may be called.
KIND = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)

#: Of two vendors, so that neither's trouble looks like ours.
NETWORK_PROBES = [
    "https://www.gstatic.com/generate_204",
    "https://cp.cloudflare.com/generate_204",
]

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


def read_environment(base_dir: Path) -> environ.Env:
    """Read all settings from their three sources; the first one that has a name wins.

    Raises ImproperlyConfigured naming every missing setting and how to make one.
    """
    env = _environment_of(os.environ)
    _add_file(env, base_dir / ".env")
    # An explicit DEBUG=false marks production, where the generated secrets and addresses of `make
    # run` must not stand in for a setting that somebody forgot.
    if env.ENVIRON.get("DEBUG", "").lower() not in FALSE:
        _add_file(env, base_dir / "var" / "local.env")
    for old_name, name in ALIASES.items():
        if old_name in env.ENVIRON:
            env.ENVIRON.setdefault(name, env.ENVIRON[old_name])
    _refuse_missing(env)
    return env


def switch(env: environ.Env, name: str, *, default: bool) -> bool:
    """Read true or false. A word that is neither is an error, where environ would read it as false."""
    word = env.ENVIRON.get(name, "").lower()
    if not word:
        return default
    if word not in TRUE | FALSE:
        raise ImproperlyConfigured(f"{name} is {word!r}; write true or false.")
    return word in TRUE


def items(env: environ.Env, name: str, cast: Callable[[str], T], example: str) -> list[T]:
    """Read a list separated by commas; one that cannot be read is an error that shows the form."""
    words = [word.strip() for word in env.ENVIRON.get(name, "").split(",")]
    try:
        return [cast(word) for word in words if word]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}. Write it like {example}.") from error


def network_probes(env: environ.Env) -> list[str]:
    """Read the addresses that tell whether the internet is there; "-" is none."""
    if env.ENVIRON.get("NETWORK_PROBES") == "-":
        return []
    return items(env, "NETWORK_PROBES", web_address, ",".join(NETWORK_PROBES)) or NETWORK_PROBES


def web_address(word: str) -> str:
    """Read the address of a page. Raises ValueError."""
    address = urlsplit(word)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"{word!r} is no address that starts with http:// or https://")
    return word


def weighted_kind(word: str) -> tuple[str, float]:
    """Read a kind of action and its weight, for instance listen:1.5. Raises ValueError."""
    kind, _, number = word.partition(":")
    if not KIND.fullmatch(kind):
        raise ValueError(f"{kind!r} is no kind of action: up to 40 of a-z, 0-9, _ and -")
    weight = float(number)
    if not math.isfinite(weight):
        raise ValueError(f"the weight of {kind!r} is not a number")
    return kind, weight


def share(env: environ.Env, name: str) -> float | None:
    """Read a fraction from 0 to 1; None when it is not set."""
    word = env.ENVIRON.get(name, "")
    try:
        value = float(word) if word else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value <= 1:
        raise ImproperlyConfigured(f"{name} is {word!r}; write a fraction from 0 to 1, like 0.1.")
    return value


def database(env: environ.Env, name: str) -> dict[str, Any]:
    """Read the database's address; only PostgreSQL will do."""
    try:
        config: dict[str, Any] = env.db(name)
    except (ValueError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"{name} cannot be read: {REQUIRED[name]}") from error
    if config.get("ENGINE") != "django.db.backends.postgresql":
        raise ImproperlyConfigured(f"{name} must name a PostgreSQL database: {REQUIRED[name]}")
    return config


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """host: "" where there is none. starttls: the connection turns to TLS; tls: it begins with it."""

    host: str = ""
    port: int = 25
    user: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = False
    tls: bool = False


#: What the scheme of a mail server's address stands for, and its usual port.
MAIL_SCHEMES = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


def mail_server(env: environ.Env, name: str) -> MailServer:
    """Read the address of an SMTP server; a user or password with special characters is escaped."""
    text = env.ENVIRON.get(name, "")
    if not text:
        return MailServer()
    try:
        address = urlsplit(text)
        host, port = address.hostname, address.port
    except ValueError:
        host = None
    if host is None or address.scheme not in MAIL_SCHEMES:
        # The address itself may hold a password, so it is not repeated.
        raise ImproperlyConfigured(
            f"{name} cannot be read; write it like smtp+tls://USER:PASSWORD@HOST:587 "
            "(smtps:// for TLS from the start, smtp:// for none; special characters as %40)."
        )
    return MailServer(
        host=host,
        port=port or MAIL_SCHEMES[address.scheme],
        user=unquote(address.username or ""),
        password=unquote(address.password or ""),
        starttls=address.scheme == "smtp+tls",
        tls=address.scheme == "smtps",
    )


def log_file(env: environ.Env, default: Path) -> Path | None:
    """Read the path of the log and make its folder; "-" is the terminal alone."""
    path = env.str("LOG_FILE", str(default))
    if path == "-":
        return None
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"LOG_FILE is {path!r}, whose folder cannot be made: {error}. Write - to log to the terminal alone."
        ) from error
    return Path(path)


def _environment_of(values: Mapping[str, str]) -> environ.Env:
    # django-environ keeps its values on the class and would write those of the files into
    # os.environ, from where every child process would inherit them.
    return type("Environment", (environ.Env,), {"ENVIRON": _without_blanks(values)})()


def _add_file(env: environ.Env, path: Path) -> None:
    """Add what the file has and the sources before it lack."""
    if path.exists():
        file = _environment_of({})
        file.read_env(path)
        env.ENVIRON.update(_without_blanks(file.ENVIRON) | env.ENVIRON)


def _without_blanks(values: Mapping[str, str]) -> dict[str, str]:
    # `NAME=` in a file copied from .env.example leaves the name to the next source or the default.
    return {name: value.strip() for name, value in values.items() if value.strip()}


def _refuse_missing(env: environ.Env) -> None:
    missing = [name for name in REQUIRED if name not in env.ENVIRON]
    if missing:
        lines = "\n".join(f"  {name}: {REQUIRED[name]}" for name in missing)
        raise ImproperlyConfigured(
            f"Missing settings; set them in the environment or in .env:\n{lines}\n"
            "(On one machine, `make run` sets all of them, unless DEBUG=false says that this is production.)"
        )
