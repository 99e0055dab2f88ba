"""A process forked in advance for one call: it answers from the state at its fork and does not outlive its parent."""

import multiprocessing
import os
import socket
import struct
import time

import psutil
import pytest

from tabtune_core.engine.preforked_process import FreshProcess

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
