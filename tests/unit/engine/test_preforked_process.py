"""A process forked in advance for one call: it answers from the state at its fork and does not outlive its parent."""

import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import time

import psutil
import pytest

from tabtune_core.engine.preforked_process import FreshProcess

ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the death of a parent")
STATE = []
"""State of a process; a preforked process sees no later change."""


def seen(more):
    return [*STATE, more], os.getpid()


def gives_up():
    os._exit(3)


def stays(pipe):
    """Forks a process, sends its id, and is killed."""
    FreshProcess()
    pipe.send([child.pid for child in psutil.Process().children()])
    time.sleep(60)


def test_it_sees_only_the_state_at_the_time_of_its_fork():
    STATE[:] = ["before"]
    fresh = FreshProcess()
    STATE.append("later")
    answer, pid = fresh.call(seen, more="asked")
    assert answer == ["before", "asked"]
    assert pid != os.getpid()


def test_it_has_no_answer_when_the_function_ends_it_or_fails():
    assert FreshProcess().call(gives_up) is None
    assert FreshProcess().call(seen, unknown=1) is None


def test_it_has_no_answer_when_it_was_killed_before_it_was_asked():
    fresh = FreshProcess()
    fresh._process.kill()
    fresh._process.join()
    assert fresh.call(seen, more="asked") is None


def test_it_has_no_answer_when_it_was_killed_while_answering():
    fresh, (ours, theirs) = FreshProcess(), multiprocessing.Pipe()
    fresh._pipe.close()
    fresh._pipe = ours
    os.write(theirs.fileno(), struct.pack("!i", 100) + b"half an answer")
    with socket.socket(fileno=os.dup(theirs.fileno())) as end:
        end.shutdown(socket.SHUT_WR)
    assert fresh.call(seen, more="asked") is None


@pytest.mark.parametrize("kill", ["kill", "terminate"])
def test_it_ends_with_the_process_that_forked_it(kill):
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe()
    maker = context.Process(target=stays, args=(writer,))
    maker.start()
    (aside,) = reader.recv()
    assert psutil.pid_exists(aside)
    getattr(maker, kill)()
    maker.join()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(aside) and psutil.Process(aside).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""
CHILD = """
import os, sys, time
from tabtune_core.engine.preforked_process import die_with
die_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""


@ONLY_LINUX
def test_a_child_ends_with_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD, "x"], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    child.wait(timeout=20)


@ONLY_LINUX
def test_a_child_whose_parent_has_already_ended_does_nothing():
    code = "from tabtune_core.engine.preforked_process import die_with; die_with(1 << 22); print('on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
