"""The directory (var/) that holds everything SoloBoard keeps on one machine."""

import os
import pwd
from pathlib import Path

from soloboard.local import CannotRunError


class State:
    """Where things lie: `run` the records of processes, `log` one file for each of them."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.run = self.root / "run"
        self.log = self.root / "log"

    def create(self) -> None:
        """Make the directories, private to this account; repeat at will.

        Raises CannotRunError when the directory belongs to another account.
        """
        self.root.mkdir(exist_ok=True)
        owner_uid = self.root.stat().st_uid
        if owner_uid != os.geteuid():
            raise CannotRunError(
                f"{self.root} belongs to {account_name(owner_uid)}, and this is "
                f"{account_name(os.geteuid())}: start SoloBoard from the account it was first "
                "started from, or move that directory away to begin anew."
            )
        # PostgreSQL refuses to run as root, so under root its account must be able to pass
        # through to its own directory. It may pass and no more: it cannot list, and all
        # that lies in here is private in itself.
        self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for directory in (self.run, self.log):
            directory.mkdir(mode=0o700, exist_ok=True)


def account_name(uid: int) -> str:
    """The name of an account, or its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
