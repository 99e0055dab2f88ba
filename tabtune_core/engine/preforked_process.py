"""A process that is forked before this one loads anything: as clean as a new interpreter, but seconds faster.

In: a function and its arguments. Out: its result, or None. The process waits meanwhile, and ends with its parent.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PR_SET_PDEATHSIG = 1


class FreshProcess:
    """A fork of this process; make it before this process has a second thread, a model or CUDA."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, far_end = context.Pipe()
        ends = (far_end, self._pipe, os.getpid())
        self._process = context.Process(target=_wait, args=ends, name="set aside", daemon=True)
        self._process.start()
        far_end.close()

    def call(self, function: Callable[..., Any], /, **named: Any) -> Any:
        """Calls a picklable function there, once; returns its result, or None without an answer."""
        try:
            with self._pipe:
                self._pipe.send((function, named))
                return self._pipe.recv()
        except (EOFError, OSError):  # it ended before, during or after the call, without a complete answer
            return None
        finally:
            self._process.join()


def die_with(parent: int) -> None:
    """Has Linux kill this process when the thread that started it, in process ``parent``, ends: PR_SET_PDEATHSIG.

    Killing a process does not reach its children and, on a cluster, not even its process group.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent has already ended
            os._exit(1)


def _wait(pipe: Connection, other_end: Connection, parent: int) -> None:
    die_with(parent)
    other_end.close()  # or the pipe would stay open when the other process is killed
    try:
        function, named = pipe.recv()
    except EOFError:
        return
    pipe.send(function(**named))
