"""What carries out the runs that the worker takes from the queue: local processes, or another machine's.

In: queued runs, and what people ask of those that go on. Out: tasks, and why each has ended. The worker claims and closes the rows of runs
and is the only one who decides that a run is queued again; an executor never does. Nothing else knows which executor a run is on.
"""

import argparse
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from typing import Any, Literal, Protocol, TypeVar

from tabtune_core.errors import SettingError
from tabtune_core.events import StopRequest
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

LOCAL, RAY = "local", "ray"
"""Names of the executors: of this machine, which rows of earlier versions without a name belong to, and of a Ray cluster."""
VARIABLE = "TABTUNE_WORKER"
"""Holds flags as on the command line of a worker, for example ``--parallel 2 --notify https://chat.example/hook``."""
AGAIN = "Resume it, or run it again."
"""What to do about most of what can happen to a run."""
State = Literal["alive", "gone", "unknown"]
"""``alive``: it goes on, or is suspended. ``gone``: it has ended, for certain. ``unknown``: nothing tells; the worker closes it when the
heartbeat in its rows has stayed the same for too long, and until then nothing may be done to it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What starts next, and where."""

    run: Run
    """Queued."""
    slot: str
    """What it holds until it has ended, as people read it in its row: ``cuda:1``, ``cpu:0-3``."""
    node: str
    """The machine's name."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a task is gone whose run did not end its row itself."""

    cause: str
    """A sentence."""
    way_out: str
    """Another, what to do; empty where memory is the cause, or often is: what to lower stands in the run's settings."""


class Task(Protocol):
    """A run that goes on; each executor has a class of its own for what it knows besides."""

    id: str
    """Of the run."""


TaskType = TypeVar("TaskType", bound=Task)


class Executor(Protocol[TaskType]):
    """Called from one thread. Each method returns soon, but for ``wait`` and ``end``, and raises ShortageError for what may pass."""

    name: str
    """As it stands in the rows of its runs."""

    def place(self, queued: Sequence[Run], going: Sequence[TaskType]) -> Placement | None:
        """What of the queue, which is in order, starts next; None where all has to wait."""

    def start(self, run: Run, placement: Placement) -> TaskType | None:
        """Begins the run of a placement, whose row says 'running' now; None where no process could be started."""

    def adopt(self, runs: Sequence[Run]) -> list[TaskType]:
        """Tasks for all of these runs, which an earlier worker started; also where the process is gone, as ``poll`` says then."""

    def poll(self, task: TaskType) -> State:
        """What has become of it. Where the run cannot reach the store, writes what it told since the last time, heartbeat included."""

    def ask(self, task: TaskType, wish: StopRequest | Literal["end"] | None) -> None:
        """Passes on what is asked of it, again and again, for as long as it goes on; 'end': its row has ended, and it is still there.

        After a grace time it makes the process cancel or end.
        """

    def end(self, task: TaskType) -> bool:
        """Ends the process at once. Returns whether it has ended; one that may be another's is left alone."""

    def collect(self, task: TaskType) -> Ended:
        """Of one that is gone: brings the files that it left to the run's folder, frees what it held, and says why it ended."""

    def let_go(self, tasks: Sequence[TaskType]) -> None:
        """Writes nothing more of them: they go on, and the next worker adopts them."""

    def wait(self, tasks: Sequence[TaskType], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """Until one of the tasks or jobs may have ended (whether that is so), or the time is over; ``jobs`` are sentinels of processes."""


OpenExecutor = Callable[[RunStore, ForkServerContext, str], Executor[Any]]
"""Makes an executor for a store, from the context of its processes and the module whose ``run_experiment`` carries out a run."""


def flags_in_environment() -> list[str]:
    """What every worker that is started from here is told before its own flags.

    Raises:
        SettingError: the variable cannot be split into flags.
    """
    try:
        return shlex.split(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        raise refusal(f"It cannot be split into flags ({error}).") from error


def executor_in_environment() -> str:
    """Name of the executor of a worker that is started from here."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--executor", default=LOCAL)
    return str(parser.parse_known_args(flags_in_environment())[0].executor)


def refusal(why: str) -> SettingError:
    """An error about the variable."""
    return SettingError(f"The environment variable {VARIABLE} is {os.environ[VARIABLE]!r}, which a worker does not accept: {why}")
