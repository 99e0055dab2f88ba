"""The interface of executors, which carry out the runs that the worker takes from the queue: here, or on another
machine.

In: queued runs, and requests of people about running ones. Out: tasks, and why each has ended. A task ends with its
worker. Only the worker claims and closes rows of runs and decides that a run is queued again; an executor never does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from typing import Any, Literal, Protocol, TypeVar

from tabtune_core.events import StopRequest
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

LOCAL, RAY = "local", "ray"
"""Names of the executors: this machine, and a Ray cluster."""
AGAIN = "Resume it, or run it again."
"""The usual advice for a run that ended early."""


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
    """What to do, in a sentence; empty if memory is the likely cause: what to lower depends on the run's settings."""


class Task(Protocol):
    """A started run; each executor has its own class with more fields."""

    id: str
    """The run's id."""

    @property
    def goes_on(self) -> bool:
        """Whether the task has not ended."""

    def end(self) -> bool:
        """Ends the task at once; returns whether it has ended."""


TaskType = TypeVar("TaskType", bound=Task)


class Executor(Protocol[TaskType]):
    """Called from one thread; all methods but ``wait`` return soon, and raise ShortageError for one that may pass."""

    name: str
    """As stored in the rows of its runs."""

    def place(self, queued: Sequence[Run], going: Sequence[TaskType]) -> Placement | None:
        """Chooses which run of the ordered queue starts next; None if all have to wait."""

    def start(self, run: Run, placement: Placement) -> TaskType | None:
        """Starts a placed run, whose row says 'running' by now; None if no process could be started."""

    def ask(self, task: TaskType, wish: StopRequest | Literal["end"] | None) -> None:
        """Passes on a request; called repeatedly while the task goes on. 'end': its row has ended, but it has not.

        After a grace time it forces the task to cancel or end.
        """

    def collect(self, task: TaskType) -> Ended:
        """Brings a gone task's files to the run's folder, frees what it occupied, and says why it ended."""

    def wait(self, tasks: Sequence[TaskType], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """Waits until a task or a job (a process's sentinel) may have ended; returns whether one may have."""


OpenExecutor = Callable[[RunStore, ForkServerContext, str], Executor[Any]]
"""Makes an executor for a store, from the context of its processes and the module that carries out a run."""
