"""Flags of how a worker carries runs out: the worker's own, and those of a program that starts one.

In: a parser. Out: the flags on it, with what the environment says as their defaults.
"""

import argparse
import os
from collections.abc import Callable

from tabtune_core.errors import SettingError
from tabtune_core.execution.choice import ADDRESS_VARIABLE, EXECUTORS, GPU_SHARE_VARIABLE, ExecutorChoice
from tabtune_core.execution.cores import Shares, divide
from tabtune_core.execution.end_messages import NOTIFY_VARIABLE, checked_address
from tabtune_core.execution.executor import EXECUTOR_VARIABLE, LOCAL
from tabtune_core.execution.lock import PARALLEL_VARIABLE, THREADS_VARIABLE
from tabtune_core.settings.validation import whole_number
from tabtune_core.store.job_kinds import JOB_MINUTES_VARIABLE, read_minutes


def add_worker_flags(parser: argparse._ActionsContainer, *, address: str) -> None:
    """Adds them; ``address`` names the flag of the Ray cluster's address, which is ``ray_address`` among the values."""
    parser.add_argument(
        "--parallel",
        metavar="N",
        type=_count,
        default=os.environ.get(PARALLEL_VARIABLE) or None,
        help="how many runs go on at once on the CPU, each on cores of its own, as far as the free memory allows by the estimate; a GPU has"
        " one. Not with the executor 'ray' (default: as many as the cores allow; also with"
        f" {PARALLEL_VARIABLE} in the environment of whatever starts the worker)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=_count,
        default=os.environ.get(THREADS_VARIABLE) or None,
        help="threads of each of them (default: the cores divided by --parallel; without that, half of the cores, at most four. Not"
        f" with the executor 'ray'; also with {THREADS_VARIABLE})",
    )
    parser.add_argument(
        "--executor",
        choices=EXECUTORS,
        default=os.environ.get(EXECUTOR_VARIABLE) or LOCAL,
        help="where runs are carried out: on this machine, or on those of a Ray cluster, which needs the extra 'ray' (default: local; also"
        f" with {EXECUTOR_VARIABLE})",
    )
    parser.add_argument(
        address,
        dest="ray_address",
        metavar="HOST:PORT",
        default=os.environ.get(ADDRESS_VARIABLE) or "auto",
        help=f"head of the Ray cluster; 'auto' is the cluster that this machine is part of (default: auto; also with {ADDRESS_VARIABLE})",
    )
    parser.add_argument(
        "--gpu-share",
        metavar="SHARE",
        type=float,
        default=os.environ.get(GPU_SHARE_VARIABLE) or "1",
        help="what a run on the Ray cluster is given of a GPU, at most 1. Less than 1 puts several runs on one, whose seconds cannot be"
        f" compared (default: 1; also with {GPU_SHARE_VARIABLE})",
    )


def chosen(asked: argparse.Namespace) -> tuple[ExecutorChoice, Shares | None]:
    """Where the flags put runs, and how they divide the cores of this machine, which is nothing to a cluster.

    Raises:
        SettingError: a flag is out of range, or says nothing to the executor.
    """
    choice = ExecutorChoice(asked.executor, asked.ray_address, asked.gpu_share)
    if choice.executor == LOCAL:
        return choice, divide(asked.parallel, asked.threads)
    if asked.parallel or asked.threads:
        raise SettingError(
            "--parallel and --threads divide the cores of this machine, and the executor 'ray' puts a run wherever the cluster has room for"
            f" it, with CPUs that it chooses. Leave them out, in the environment too ({PARALLEL_VARIABLE}, {THREADS_VARIABLE}), or choose"
            " --executor local."
        )
    return choice, None


def check_environment() -> None:
    """Looks at what a worker that is started from here would take from the environment, before anything waits for it.

    Raises:
        SettingError: a variable says what no worker accepts.
    """
    readers: dict[str, Callable[[str], object]] = {
        PARALLEL_VARIABLE: whole_number,
        THREADS_VARIABLE: whole_number,
        EXECUTOR_VARIABLE: ExecutorChoice,
        GPU_SHARE_VARIABLE: lambda text: ExecutorChoice(gpu_share=float(text)),
        JOB_MINUTES_VARIABLE: read_minutes,
        NOTIFY_VARIABLE: checked_address,
    }
    for variable, read in readers.items():
        if text := os.environ.get(variable):
            try:
                read(text)
            except (SettingError, ValueError) as error:
                why = error if isinstance(error, SettingError) else "It is no number."
                raise SettingError(f"The environment variable {variable} is {text!r}, which no worker accepts. {why}") from error
    parser = argparse.ArgumentParser()
    add_worker_flags(parser, address="--address")
    try:
        chosen(parser.parse_args([]))
    except SettingError as error:
        raise SettingError(f"No worker accepts what {', '.join(list(readers)[:4])} in the environment say together. {error}") from error


def _count(text: str) -> int:
    try:
        return whole_number(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
