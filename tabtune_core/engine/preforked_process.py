"""A process that is set aside before this one loads anything, for one call later: as fresh as a new interpreter, seconds sooner.

In: a function and what it takes. Out: what it returns, or None. The process waits meanwhile and ends with the one that set it aside.
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
    """A fork of this process as it is now; to be made before this one has a second thread, a model or CUDA."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_wait, args=(theirs, self._pipe, os.getpid()), name="set aside", daemon=True)
        self._process.start()
        theirs.close()

    def call(self, function: Callable[..., Any], /, **named: Any) -> Any:
        """What the function, which can be pickled, returns there; None where the process ended without an answer. Only once."""
        try:
            with self._pipe:
                self._pipe.send((function, named))
                return self._pipe.recv()
        except (EOFError, OSError):  # it ended before it was asked, while it worked, or in the middle of its answer
            return None
        finally:
            self._process.join()


def die_with(parent: int) -> None:
    """This process is killed when the thread that started it ends, whose process is ``parent``: on Linux, prctl(2), PR_SET_PDEATHSIG.

    A kill does not reach children, nor, on a cluster, the process group.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before
            os._exit(1)


def _wait(pipe: Connection, other_end: Connection, parent: int) -> None:
    die_with(parent)
    other_end.close()  # or the pipe would stay open when the other process is killed
    try:
        function, named = pipe.recv()
    except EOFError:
        return
    pipe.send(function(**named))
