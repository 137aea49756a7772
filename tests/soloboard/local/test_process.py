"""Children are known by the lock they hold, and end when asked, or by force."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from soloboard.local import CannotRunError, process
from soloboard.local.process import Process, Record, take_over
from soloboard.local.state import State

RunPython = Callable[..., Process]

SLEEP = "import time; print('up'); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
# A parent that ends at once and leaves a child behind.
ABANDON = (
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {code!r}], close_fds=False)"
)


def is_up(child: Process) -> Callable[[], bool]:
    return lambda: child.log is not None and "up" in child.log.read_text()


def test_a_child_holds_its_record_until_it_is_stopped(run_python: RunPython) -> None:
    child = run_python(SLEEP)
    assert child.record.is_held()
    child.stop()
    assert child.popen.returncode == -signal.SIGTERM
    assert not child.record.path.exists()


def test_a_child_that_ignores_the_signal_is_killed(
    run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_TIMEOUT_S", 0.1)
    child = run_python(STUBBORN)
    child.wait_until(is_up(child))
    child.stop()
    assert child.popen.returncode == -signal.SIGKILL


def test_a_record_is_held_by_what_the_child_left_behind(
    run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_TIMEOUT_S", 0.1)
    child = run_python(ABANDON.format(code=SLEEP))
    child.popen.wait()
    assert child.record.is_held()
    child.stop()
    assert not child.record.path.exists()


def test_a_child_is_in_a_session_of_its_own(run_python: RunPython) -> None:
    child = run_python(SLEEP)
    assert os.getsid(child.popen.pid) == child.popen.pid != os.getsid(0)


def test_waiting_for_a_child_that_ends_tells_its_last_words(run_python: RunPython) -> None:
    child = run_python("import sys; sys.exit('the disk is made of cheese')")
    with pytest.raises(CannotRunError, match=r"child stopped .* \(exit code 1\)(?s:.*)of cheese"):
        child.wait_until(lambda: False)


def test_waiting_ends_with_a_sentence_when_a_child_never_serves(
    run_python: RunPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_TIMEOUT_S", 0.1)
    with pytest.raises(CannotRunError, match=r"child did not answer within 0.1 s"):
        run_python(SLEEP).wait_until(lambda: False)


def test_a_killed_child_is_named_with_its_signal(run_python: RunPython) -> None:
    child = run_python(SLEEP)
    child.popen.kill()
    child.popen.wait()
    with pytest.raises(CannotRunError, match="SIGKILL"):
        child.check()


def test_logs_are_private_and_the_last_one_is_kept(run_python: RunPython, state: State) -> None:
    for word in ("first", "second"):
        run_python(f"print({word!r})").popen.wait()
    log = state.log / "child.log"
    assert log.read_text() == "second\n"
    assert (state.log / "child.log.1").read_text() == "first\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_new_owner_stops_what_a_killed_one_left_last_started_first(state: State) -> None:
    order = state.root / "order"
    code = f"""
import signal, sys, time
def note(*_):
    open({str(order)!r}, "a").write(sys.argv[1])
    sys.exit()
signal.signal(signal.SIGTERM, note)
print("up")
time.sleep(600)
"""
    owner = f"""
import os, signal, sys
from pathlib import Path
from soloboard.local.process import Process
from soloboard.local.state import State
state = State(Path({str(state.root)!r}))
for name in "ab":
    command = [sys.executable, "-u", "-c", {code!r}, name]
    child = Process.start(name, command, state, env=os.environ, cwd=state.root)
    child.wait_until(lambda: "up" in child.log.read_text())
os.kill(os.getpid(), signal.SIGKILL)
"""
    repository = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", owner], cwd=repository, check=False)
    assert all(Record(path=state.run / f"{name}.process").is_held() for name in "ab")
    assert take_over(state) == 2
    assert order.read_text() == "ba"
    assert list(state.run.iterdir()) == []


def test_records_of_processes_long_gone_are_forgotten(state: State) -> None:
    # The number in it may by now be that of any process: here, of the test itself.
    (state.run / "postgres.process").write_text(f"{os.getpid()} {signal.SIGKILL.value}\n")
    assert take_over(state) == 0
    assert list(state.run.iterdir()) == []


def test_a_held_record_without_a_number_asks_for_help(run_python: RunPython, state: State) -> None:
    child = run_python(SLEEP)
    written = child.record.path.read_text()
    child.record.path.write_text("")
    with pytest.raises(CannotRunError, match=r"child\.process and cannot be stopped.*by hand"):
        take_over(state)
    child.record.path.write_text(written)
