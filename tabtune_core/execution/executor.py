"""The interface of executors, which carry out the runs that the worker takes from the queue: here, or on another
machine.

In: queued runs, and requests of people about running ones. Out: tasks, and why each has ended. Only the worker claims
and closes rows of runs and decides that a run is queued again; an executor never does. Only the worker knows which
executor a run is on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from typing import Any, Literal, Protocol, TypeVar

from tabtune_core.events import StopRequest
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

LOCAL, RAY = "local", "ray"
"""Names of the executors: this machine, also meant by rows of earlier versions without a name, and a Ray cluster."""
AGAIN = "Resume it, or run it again."
"""The usual advice for a run that ended early."""
State = Literal["alive", "gone", "unknown"]
"""``alive``: the task runs, or is suspended. ``gone``: it has certainly ended. ``unknown``: it may run; the worker
leaves it alone, and closes it when the heartbeat in its row has stayed the same for too long.
"""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which run starts next, and where."""

    run: Run
    slot: str
    """What the run occupies until it has ended, as shown to people: ``cuda:1``, ``cpu:0-3``."""
    node: str
    """The machine's name."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a task is gone although its run did not end its row itself."""

    cause: str
    """A sentence."""
    way_out: str
    """A sentence that says what to do; empty if memory is the likely cause: then it depends on the run's settings what
    to lower.
    """


class Task(Protocol):
    """A started run; each executor has its own class with more fields."""

    id: str
    """The run's id."""


TaskType = TypeVar("TaskType", bound=Task)


class Executor(Protocol[TaskType]):
    """Called from one thread.

    All methods but ``wait`` and ``end`` return soon; all raise ShortageError for a shortage that may pass.
    """

    name: str
    """As stored in the rows of its runs."""

    def place(self, queued: Sequence[Run], going: Sequence[TaskType]) -> Placement | None:
        """Chooses which run of the ordered queue starts next; None if all have to wait."""

    def start(self, run: Run, placement: Placement) -> TaskType | None:
        """Starts a placed run, whose row says 'running' by now; None if no process could be started."""

    def adopt(self, runs: Sequence[Run]) -> list[TaskType]:
        """Returns tasks for runs that an earlier worker started; a run whose process is gone gets one too, and ``poll``
        says so.
        """

    def poll(self, task: TaskType) -> State:
        """Returns the task's state. If its run cannot reach the store, also stores its new events and its heartbeat."""

    def ask(self, task: TaskType, wish: StopRequest | Literal["end"] | None) -> None:
        """Passes on a request; called repeatedly while the task runs. 'end': its row has ended, but its process has
        not.

        After a grace time it forces the process to cancel or end.
        """

    def end(self, task: TaskType) -> bool:
        """Ends the process at once.

        Returns whether it has ended; a process that may be somebody else's is left alone.
        """

    def collect(self, task: TaskType) -> Ended:
        """Brings the files of a task that is gone to the run's folder, frees what it occupied, and says why it ended."""

    def let_go(self, tasks: Sequence[TaskType]) -> None:
        """Stops following the tasks: they go on, and the next worker adopts them."""

    def wait(self, tasks: Sequence[TaskType], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """Waits until a task or job may have ended, or time is up; returns whether one may have.

        ``jobs`` are sentinels of processes.
        """


OpenExecutor = Callable[[RunStore, ForkServerContext, str], Executor[Any]]
"""Makes an executor for a store, from the context of its processes and the module whose ``run_experiment`` carries out
a run.
"""
