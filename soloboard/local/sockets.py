"""Where the services listen: Unix sockets in private directories, and ports on loopback."""

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from soloboard.local import CannotRunError
from soloboard.local.account import Account

# The kernel takes 107 bytes on Linux and 103 on macOS.
MAX_SOCKET_PATH_BYTES = 100


def socket_directory(data: Path, socket_name: str, account: Account) -> Path:
    """The directory for a service's socket: `data` itself, unless the path is too long for one.

    Then a directory under the temp directory, named after `data`, private to `account`. A comma
    in a path separates hosts for PostgreSQL's clients, so such a path counts as too long.

    Raises CannotRunError when another account was there first.
    """
    path = os.fsencode(data / socket_name)
    if len(path) <= MAX_SOCKET_PATH_BYTES and b"," not in path:
        return data
    digest = hashlib.sha256(path).hexdigest()[:12]
    directory = Path(tempfile.gettempdir()) / f"soloboard-{digest}"
    try:
        directory.mkdir(mode=0o700)
        os.chown(directory, account.uid, account.gid)
    except FileExistsError:
        found = directory.lstat()
        is_private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
        if found.st_uid != account.uid or not is_private:
            raise CannotRunError(
                f"{directory} is needed for a socket, but it is not a private directory of the "
                "account that serves there: remove it, or set TMPDIR to another directory."
            ) from None
    return directory


def require_free_port(port: int, variable: str) -> None:
    """Raise CannotRunError, naming the variable that changes it, when the port is taken."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier one that are still fading do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CannotRunError(
                f"Port {port} cannot be used ({error.strerror}): stop the program that uses it, "
                f"or choose another port, such as `{variable}={port + 1} make run`."
            ) from error
