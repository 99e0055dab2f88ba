"""Flags of how a worker carries runs out, and which executor it uses: the worker's own, and those of a program that starts one.

In: a parser, and the variable that holds such flags for every worker that is started from here. Out: the flags, read
and checked. Loads no Ray.
"""

import argparse
import functools
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tabtune_core.errors import SettingError
from tabtune_core.execution.cores import Shares, divide
from tabtune_core.execution.end_messages import checked_address
from tabtune_core.execution.executor import LOCAL, RAY, VARIABLE, OpenExecutor, flags_in_environment, refusal
from tabtune_core.settings.validation import whole_number
from tabtune_core.store.job_kinds import KINDS, read_minutes

EXECUTORS = (LOCAL, RAY)
LEAST_SHARE = 0.01
"""Of a GPU; Ray rounds a smaller share to 0."""


def named_home(text: str) -> Path:
    """The folder of ``--home``. A blank name, as of a variable that is not set, would be the folder that one is in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is blank; name a folder, or leave it out")
    return Path(text)


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """Where runs are carried out.

    Raises:
        SettingError: the executor is unknown, or the share of a GPU is out of range.
    """

    executor: str = LOCAL
    """'local', which is this machine, or 'ray': the machines of a Ray cluster."""
    address: str = "auto"
    """Of the head of the Ray cluster, HOST:6379; 'auto' is the cluster that this machine is part of."""
    gpu_share: float = 1.0
    """Of a GPU that a run on the Ray cluster is given. Less than 1 puts several on one, whose seconds cannot be compared."""

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise SettingError(f"There is no executor {self.executor!r}; choose one of {', '.join(EXECUTORS)}.")
        if not LEAST_SHARE <= self.gpu_share <= 1:
            raise SettingError(
                f"The share of a GPU is {self.gpu_share:g}; a run is given at most one GPU, and at least {LEAST_SHARE:g} of it. Write 1,"
                " or for example 0.5."
            )

    def check(self) -> None:
        """Checks, as far as a moment tells, that runs can be carried out there.

        Raises:
            ClusterError: Ray is not installed, or there is no cluster.
        """
        if self.executor == RAY:
            from tabtune_core.execution.on_ray.cluster_check import check

            check(self.address)

    def opener(self) -> OpenExecutor:
        """What opens the executor."""
        if self.executor == LOCAL:
            from tabtune_core.execution.local import LocalExecutor

            return LocalExecutor
        from tabtune_core.execution.on_ray.executor import RayExecutor

        return functools.partial(RayExecutor, self.address, self.gpu_share)


def add_worker_flags(parser: argparse._ActionsContainer, *, address: str = "--address") -> None:
    """Adds where runs go on; ``address`` names the flag of the Ray cluster's address, which is ``ray_address`` among the values.

    What is not given is None: ``flags_of_worker`` and ``asked_by_environment`` know what is usual.
    """
    parser.add_argument(
        "--parallel",
        metavar="N",
        type=_count,
        help="how many runs go on at once on the CPU, each on cores of its own, as far as the free memory allows by the estimate; a GPU has"
        " one. Not with the executor 'ray' (default: as many as the cores allow)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=_count,
        help="threads of each of them (default: the cores divided by --parallel; without that, half of the cores, at most four. Not"
        " with the executor 'ray')",
    )
    parser.add_argument(
        "--executor",
        choices=EXECUTORS,
        help="where runs are carried out: on this machine, or on those of a Ray cluster, which needs the extra 'ray' (default: local)",
    )
    parser.add_argument(
        address,
        dest="ray_address",
        metavar="HOST:PORT",
        help="head of the Ray cluster; 'auto' is the cluster that this machine is part of (default: auto)",
    )
    parser.add_argument(
        "--gpu-share",
        metavar="SHARE",
        type=float,
        help="what a run on the Ray cluster is given of a GPU, at most 1. Less than 1 puts several runs on one, whose seconds cannot be"
        " compared (default: 1)",
    )


def add_flags_of_worker(parser: argparse.ArgumentParser) -> None:
    """Adds all that ``VARIABLE`` may hold."""
    add_worker_flags(parser)
    parser.set_defaults(executor=LOCAL, ray_address="auto", gpu_share=1.0)
    parser.add_argument(
        "--no-resume",
        action="store_true",
        help="leave a run whose process was killed to 'loralab resume' and the Live page; otherwise it goes on by itself, once",
    )
    parser.add_argument(
        "--job-minutes",
        metavar="MINUTES",
        type=_minutes,
        default={},
        help="how long a prediction, export or curve may take before it is ended: a number for all kinds, or some as predict=10,export=90"
        f" (default: {', '.join(f'{name}={kind.minutes:g}' for name, kind in KINDS.items())})",
    )
    parser.add_argument(
        "--notify",
        metavar="URL",
        default="",
        help="send a small JSON document to this address when a sweep has ended, such as a chat's webhook (default: nothing is sent)",
    )


def chosen(asked: argparse.Namespace) -> tuple[ExecutorChoice, Shares | None]:
    """Where the flags put runs, and how they divide the cores of this machine, which a cluster ignores.

    Raises:
        SettingError: a flag is out of range, or does not apply to the executor.
    """
    choice = ExecutorChoice(asked.executor, asked.ray_address, asked.gpu_share)
    if choice.executor == LOCAL:
        return choice, divide(asked.parallel, asked.threads)
    if asked.parallel or asked.threads:
        raise SettingError(
            "--parallel and --threads divide the cores of this machine, and the executor 'ray' puts a run wherever the cluster has room for"
            f" it, with CPUs that it chooses. Leave them out, in {VARIABLE} too, or choose --executor local."
        )
    return choice, None


def tell_workers(**given: object) -> None:
    """Adds flags to the environment by their names; None means not given."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    os.environ[VARIABLE] = shlex.join([*flags_in_environment(), *words])


def asked_by_environment() -> argparse.Namespace:
    """The flags of a worker that is started from here.

    Raises:
        SettingError: the variable holds other text than such flags.
    """
    parser = _Strict(add_help=False, prog=VARIABLE, allow_abbrev=False)
    add_flags_of_worker(parser)
    return parser.parse_args(flags_in_environment())


def check_environment() -> None:
    """Looks at the variable before anything waits for a worker.

    Raises:
        SettingError: a worker would not accept its flags.
    """
    asked = asked_by_environment()
    try:
        chosen(asked)
        if asked.notify:
            checked_address(asked.notify)
    except SettingError as error:
        raise refusal(str(error)) from error


class _Strict(argparse.ArgumentParser):
    """A parser that never exits the program."""

    def error(self, message: str) -> NoReturn:
        raise refusal(message)


def _count(text: str) -> int:
    try:
        return whole_number(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _minutes(text: str) -> dict[str, float]:
    try:
        return read_minutes(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
