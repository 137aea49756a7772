"""Whom PostgreSQL runs as: it refuses to run as root."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from soloboard.local import CannotRunError

# Accounts without privileges that systems bring along, the more fitting one first.
CANDIDATES = ("postgres", "_postgres", "nobody")

# What lets an account into directories closed to it, the weaker one first: the first may read
# everything, the second write everything too. Containers often grant root the second alone.
CAPABILITIES = ("dac_read_search", "dac_override")


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account and what to put before a command so that it runs as that account."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()


def this_account() -> Account:
    """The account that runs this."""
    return Account(uid=os.geteuid(), gid=os.getegid())


def unprivileged_account(data: Path, program: Path) -> Account:
    """The account to run `program` as, in the directory `data`: this one unless it is root.

    No account is made and no permission changed. An account that cannot reach the data or the
    program, because root keeps the project in a closed directory (such as /root), gets one
    capability to pass, only then and only for these processes.

    Raises CannotRunError when the system allows none of that.
    """
    if os.geteuid() != 0:
        return this_account()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotRunError(
            "PostgreSQL refuses to run as root, and the program setpriv (of util-linux) that "
            "would run it as another account is missing: start SoloBoard from an ordinary account."
        )
    owner = _data_owner(data)
    for prefix in _prefixes(setpriv, owner):
        if _reaches(prefix, data, program):
            return Account(uid=owner.pw_uid, gid=owner.pw_gid, prefix=prefix)
    raise CannotRunError(
        f"PostgreSQL refuses to run as root, and the account {owner.pw_name} cannot reach "
        f"{data} and {program}: move the project to a directory that others may enter "
        "(such as /srv), or start SoloBoard from an ordinary account."
    )


def _data_owner(data: Path) -> pwd.struct_passwd:
    """Whoever owns the data already, else the first account without privileges there is."""
    owner_uid = data.stat().st_uid
    if owner_uid != 0:
        return pwd.getpwuid(owner_uid)
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in CANDIDATES:
        if name in known:
            return known[name]
    raise CannotRunError(
        f"PostgreSQL refuses to run as root, and there is none of the accounts "
        f"{', '.join(CANDIDATES)} here: start SoloBoard from an ordinary account."
    )


def _prefixes(setpriv: str, owner: pwd.struct_passwd) -> Iterator[tuple[str, ...]]:
    plain = (setpriv, f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups")
    yield (*plain, "--inh-caps=-all")
    for capability in CAPABILITIES:
        # PostgreSQL looks for its own files with access(2), which drops the capabilities of an
        # account that is not root unless this bit is set (capabilities(7), access(2)).
        bit = "--securebits=+no_setuid_fixup"
        yield (*plain, f"--inh-caps=-all,+{capability}", f"--ambient-caps=+{capability}", bit)


def _reaches(prefix: tuple[str, ...], data: Path, program: Path) -> bool:
    """Try it, for modes, access lists, mounts and containers all have a say."""
    attempt = 'cd "$1" && exec "$2" --version'
    command = [*prefix, "/bin/sh", "-c", attempt, "sh", str(data), str(program)]
    return subprocess.run(command, capture_output=True, cwd="/", check=False).returncode == 0  # noqa: S603 - no input of others
