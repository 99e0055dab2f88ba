"""The command-line flags of a worker and of programs that start one. Loads no Ray.

In: a parser, and the environment variable with flags for every worker started from here. Out: the flags, checked.
"""

import argparse
import functools
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tabtune_core.errors import SettingError
from tabtune_core.execution.cluster import Cluster, check, read_cluster
from tabtune_core.execution.cores import Shares, divide
from tabtune_core.execution.executor import LOCAL, RAY, OpenExecutor
from tabtune_core.execution.lock import worker_of

VARIABLE = "TABTUNE_WORKER"
"""Holds flags as on the command line of a worker, for example ``--parallel 2 --threads 4``."""
MOST_AT_ONCE = 1_000_000


def named_home(text: str) -> Path:
    """Reads the folder of ``--home``; a blank name, as from an unset variable, would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is blank; name a folder, or leave it out")
    return Path(text)


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """Where runs are carried out."""

    executor: str = LOCAL
    """'local' (this machine) or 'ray' (the machines of a Ray cluster)."""
    address: str = "auto"
    """Address of the Ray cluster's head, HOST:6379; 'auto' is the cluster that this machine is part of."""
    shares: Shares | None = None
    """How runs on this machine divide its cores; None: the usual shares, and on a cluster."""

    def check(self) -> None:
        """Checks quickly whether runs can be carried out there; raises ClusterError without Ray or a cluster."""
        if self.executor == RAY:
            check(self.address)

    def opener(self) -> OpenExecutor:
        """Returns the function that opens the executor."""
        if self.executor == LOCAL:
            from tabtune_core.execution.local import LocalExecutor

            return functools.partial(LocalExecutor, shares=self.shares)
        from tabtune_core.execution.on_ray.executor import RayExecutor

        return functools.partial(RayExecutor, self.address)


def add_worker_flags(parser: argparse.ArgumentParser) -> None:
    """Adds all flags that ``VARIABLE`` may hold."""
    number = number_within(1, MOST_AT_ONCE)
    help = "most runs at once on the CPU, each on its own cores; a run waits if its estimated memory is not free. "
    help += "A GPU has one run. Not with the executor 'ray' (default: as many as the cores allow)"
    parser.add_argument("--parallel", metavar="N", type=number, help=help)
    help = "threads of each run on the CPU. Not with the executor 'ray' (default: the cores divided by --parallel; "
    help += "without that, half of the cores, at most four)"
    parser.add_argument("--threads", metavar="N", type=number, help=help)
    help = "where runs are carried out: on this machine or a Ray cluster, which needs the extra 'ray' (default: local)"
    parser.add_argument("--executor", choices=(LOCAL, RAY), default=LOCAL, help=help)
    help = "head of the Ray cluster; 'auto' is the cluster that this machine is part of (default: auto)"
    parser.add_argument("--address", metavar="HOST:PORT", default="auto", help=help)
    help = "do not resume a run whose process was killed; 'loralab resume' does (default: it is resumed once)"
    parser.add_argument("--no-resume", action="store_true", help=help)


def chosen(asked: argparse.Namespace) -> ExecutorChoice:
    """Returns where the flags put runs; raises SettingError if a flag does not apply to the executor."""
    if asked.executor == LOCAL:
        return ExecutorChoice(shares=divide(asked.parallel, asked.threads))
    if asked.parallel or asked.threads:
        raise SettingError(
            "--parallel and --threads divide the cores of this machine, but the executor 'ray' chooses the node and "
            f"the CPUs of a run. Leave them out, in {VARIABLE} too, or choose --executor local."
        )
    return ExecutorChoice(asked.executor, asked.address)


def flags_in_environment() -> list[str]:
    """Returns the flags that every worker started from here gets before its own."""
    try:
        return shlex.split(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        raise _refusal(f"It cannot be split into flags ({error}).") from error


def _refusal(why: str) -> SettingError:
    """Makes the error that says why the variable is invalid."""
    value = os.environ[VARIABLE]
    return SettingError(f"The environment variable {VARIABLE} is {value!r}, which a worker does not accept: {why}")


def asked_by_environment() -> argparse.Namespace:
    """Reads the flags of a worker started from here; raises SettingError if the variable does not hold such flags."""
    parser = _Strict(add_help=False, prog=VARIABLE, allow_abbrev=False)
    add_worker_flags(parser)
    return parser.parse_args(flags_in_environment())


def cluster_for_new_runs(home: Path) -> Cluster | None:
    """As ``read_cluster``; also None if the cluster's worker has ended and a new one would use this machine alone."""
    there = worker_of(home) is not None or asked_by_environment().executor != LOCAL
    return read_cluster(home) if there else None


def check_environment() -> ExecutorChoice:
    """Returns where a worker started from here puts runs; raises SettingError if it would not accept the variable."""
    asked = asked_by_environment()
    try:
        return chosen(asked)
    except SettingError as error:
        raise _refusal(str(error)) from error


class _Strict(argparse.ArgumentParser):
    """A parser that never exits the program."""

    def error(self, message: str) -> NoReturn:
        raise _refusal(message)


def number_within(low: int, high: int) -> Callable[[str], int]:
    """Returns an argparse type for whole numbers from ``low`` to ``high``."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number from {low} to {high:,}.")
        return int(text)

    return read
