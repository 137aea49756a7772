"""`python -m soloboard.local`: SoloBoard on this machine, until Ctrl-C."""

import sys
from pathlib import Path

from soloboard.local import CannotRunError
from soloboard.local.supervisor import Supervisor

PROJECT = Path(__file__).resolve().parents[2]


def main(project: Path = PROJECT) -> int:
    """Run the project in this directory; return the exit code."""
    try:
        Supervisor(project).run()
    except CannotRunError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
