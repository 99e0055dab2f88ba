"""Which process a row means: the kernel's facts decide, not the clock, and doubt is reported as doubt."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from worker_program import wait_until

from tabtune_core.execution import identity
from tabtune_core.execution.identity import found, identity_of, is_suspended

HOUR = 3600.0


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def state_of(process):
    return psutil.Process(process.pid).status()


def other(text, place):
    """Returns the identity ``text`` with one of its three parts changed."""
    parts = text.split()
    return " ".join([*parts[:place], f"{parts[place]}0", *parts[place + 1 :]])


def test_a_running_process_is_alive_and_a_reaped_one_is_gone(sleeper):
    written = identity_of(sleeper.pid)
    assert found(sleeper.pid, written) == "alive"
    sleeper.kill()
    sleeper.wait()
    assert found(sleeper.pid, written) == "gone"
    assert identity_of(sleeper.pid) is None


def test_a_zombie_is_gone(sleeper):
    written = identity_of(sleeper.pid)
    sleeper.kill()
    wait_until(lambda: state_of(sleeper) == psutil.STATUS_ZOMBIE)
    assert found(sleeper.pid, written) == "gone"


def test_a_suspended_process_is_alive(sleeper):
    written = identity_of(sleeper.pid)
    assert not is_suspended(sleeper.pid, written)
    sleeper.send_signal(signal.SIGSTOP)
    wait_until(lambda: state_of(sleeper) == psutil.STATUS_STOPPED)
    assert found(sleeper.pid, written) == "alive"
    assert is_suspended(sleeper.pid, written)


def test_setting_the_clock_changes_nothing(sleeper, monkeypatch):
    written, booted, now = identity_of(sleeper.pid), psutil.boot_time(), time.time()
    for module in (psutil, psutil._pslinux):
        monkeypatch.setattr(module, "boot_time", lambda *_: booted + HOUR)
    monkeypatch.setattr(time, "time", lambda: now + HOUR)
    assert found(sleeper.pid, written) == "alive"
    assert identity_of(sleeper.pid) == written


@pytest.mark.parametrize(
    ("place", "state"), [(0, "other"), (1, "other"), (2, "unknown")], ids=["start", "boot", "namespace"]
)
def test_the_pid_alone_proves_nothing(sleeper, place, state):
    assert found(sleeper.pid, other(identity_of(sleeper.pid), place)) == state


def test_a_pid_of_another_container_is_in_doubt():
    assert found(4194300, other(identity_of(os.getpid()), 2)) == "unknown"
    assert found(4194300, identity_of(os.getpid())) == "gone"


@pytest.mark.parametrize("written", [None, "", "1760000000.25"])
def test_a_row_of_an_earlier_version_is_in_doubt_while_its_pid_is_in_use(sleeper, written):
    assert found(sleeper.pid, written) == "unknown"
    assert found(4194300, written) == "gone"
    assert found(None, written) == "gone"


def test_a_hidden_process_is_in_doubt(sleeper, monkeypatch, tmp_path):
    written = f"{identity_of(sleeper.pid).split()[0]} - -"
    monkeypatch.setattr(identity, "PROC", tmp_path)
    assert found(sleeper.pid, written) == "unknown"


def test_a_program_name_may_look_like_the_fields_after_it(tmp_path):
    program = tmp_path / "x) Z 1 ("
    shutil.copy(shutil.which("sleep"), program)
    with subprocess.Popen([program, "60"]) as process:
        wait_until(lambda: psutil.Process(process.pid).name() == program.name)
        assert found(process.pid, identity_of(process.pid)) == "alive"
        process.kill()


def test_without_proc_a_start_that_differs_is_in_doubt(sleeper, monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "PROC", tmp_path / "none")
    written = identity_of(sleeper.pid)
    assert found(sleeper.pid, written) == "alive"
    assert found(sleeper.pid, other(written, 0)) == "unknown"
    sleeper.kill()
    wait_until(lambda: found(sleeper.pid, written) == "gone")  # a zombie
    sleeper.wait()
    assert found(sleeper.pid, written) == "gone"
