"""The command line: results on stdout; progress, findings and errors on stderr.

Exit status: 0 with a result, 1 if no run had one, 2 if the request or the machine needs a fix, 130 after Ctrl-C, 141
if the reader of stdout has closed it.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tabtune_core.access import LOOPBACK, TOKEN_VARIABLE
from tabtune_core.cli.adapter_commands import print_predictions, push_adapter, serve_adapters, write_merged
from tabtune_core.cli.arguments import INSIST, add_flags, add_reading_flags, add_set
from tabtune_core.cli.fits_command import print_fits
from tabtune_core.cli.kept_runs import export_sweep, list_runs, print_leaderboard, show_run
from tabtune_core.cli.terminal import say
from tabtune_core.cli.worker_command import diagnose, work
from tabtune_core.errors import StoreError, TabTuneError
from tabtune_core.execution.lock import STARTED_BY
from tabtune_core.execution.worker_flags import (
    VARIABLE,
    add_worker_flags,
    check_environment,
    flags_in_environment,
    named_home,
    number_within,
)
from tabtune_core.metrics import METRICS
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.shortage import named, raise_file_limit
from tabtune_core.store.runs import default_home
from tabtune_core.tracking import TRACKERS
from tabtune_core.upstream import DISTRIBUTION, installed

USAGE = "%(prog)s DATA --target COLUMN [options]"
OF_KEPT_RUNS = ("leaderboard", "runs", "show", "resume", "export")
"""Commands that need an existing workspace; without a check they would create the folder of a mistyped --home."""
Argument = tuple[tuple[str, ...], dict[str, Any]]
"""Names and keywords of ``argparse.ArgumentParser.add_argument``."""


def _argument(*names: str, **how: Any) -> Argument:
    return names, how


_TABLE = "a file, an address (https://, hf://, openml:ID), or the id of a table in the workspace"
_DATA = _argument("data", metavar="DATA", help=_TABLE)
_MINUTES = "find the best rank, rate, dropout, adapted parts, variant and context rows in this time"
_SCORE = "validation score (default: the selection metric); see the reference of metrics"
_TO = (
    "html[:FILE], picture[:FILE.png or .svg], or a tracker: a tracking URI of mlflow, a project of wandb, a folder of "
    "tensorboard"
)
_SWEEP = _argument("sweep", metavar="SWEEP", nargs="?", help="id of the sweep (default: the newest)")
_FORMAT = _argument("--format", choices=("table", "csv", "json"), default="table", help="of the output")
_ADAPTERS = _argument("--adapters", metavar="DIR", type=Path, help="copy the adapter packages there")
_ADAPTER = _argument("adapter", metavar="ADAPTER", type=Path, help="id of a run, an adapter.zip, or hf://owner/name")
_BASE = (
    _argument("--checkpoint", metavar="FILE", type=Path, help="weights of the base, if they are not found"),
    _argument("--device", metavar="TEXT", default="auto", help="auto, cpu, cuda or cuda:1"),
)
_CONTEXT = _argument("--context", metavar="TABLE", help="the table of the training (default: that in the workspace)")
_OUTPUT = (
    _argument("--name", default="", metavar="TEXT", help="what the pages call these runs"),
    _FORMAT,
    _ADAPTERS,
    _argument(INSIST, dest="insist", action="store_true", help="whatever memory is left"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of ``loralab``."""

    run: Callable[[argparse.Namespace], int]
    help: str
    """The first sentence stands in the list of commands, all of them in the command's own help."""
    arguments: Sequence[Argument] = ()
    more: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    """Adds arguments that are not constant."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        if given[:1] == ["worker"]:
            given[1:1] = flags_in_environment()
        asked, unknown = _parser().parse_known_args(given)
        if unknown:  # argparse would show the usage of loralab in place of the command's own
            asked.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if getattr(asked, "home", "none") is None:
            asked.home = default_home()
        elif given[0] in OF_KEPT_RUNS and not asked.home.exists():
            none = f"There is no folder {str(asked.home)!r}, so it holds no runs"
            raise StoreError(f"{none}. Name a workspace with --home.")
        command: Callable[[argparse.Namespace], int] = asked.command
        with named(folder=getattr(asked, "home", None)):
            status = command(asked)
            sys.stdout.flush()  # the disk that it goes to may be full
            return status
    except TabTuneError as error:
        say(f"loralab: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as after "| head": nobody reads stdout any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        say(f"loralab: {error.filename!r} cannot be read or written: {error.strerror}.")
        return 2


def _parser() -> argparse.ArgumentParser:
    about = "LoRA trade-offs of tabular foundation models, measured on your own table."
    parser = argparse.ArgumentParser(prog="loralab", description=about)
    version = f"%(prog)s {installed(DISTRIBUTION) or '(not installed)'}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        usage = USAGE if name in ("sweep", "train", "fits") else None
        first = command.help.partition(". ")[0].removesuffix(".")
        own = commands.add_parser(name, usage=usage, help=first, description=command.help)
        own.set_defaults(command=command.run, parser=own)
        for names, how in command.arguments:
            own.add_argument(*names, **how)
        command.more(own)
        own.add_argument("--home", metavar="DIR", type=named_home, help="workspace (TABTUNE_HOME or ~/.tabtune)")
    return parser


def _of_launch(name: str) -> Callable[[argparse.Namespace], int]:
    """Returns a command that starts runs; it imports pandas late, a fifth of a second that other commands save."""

    def command(asked: argparse.Namespace) -> int:
        from tabtune_core.cli import launch

        check_environment()
        raise_file_limit()
        status: int = getattr(launch, name)(asked)
        return status

    return command


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    add_flags(parser.add_argument_group("what to compare"), SweepSettings, "settings.")
    _add_run(parser, "settings.run.", leave_out=("strategy", "seed", "rank", "alpha", "dropout"))


def _add_run(parser: argparse.ArgumentParser, section: str, *, leave_out: Sequence[str] = ()) -> None:
    group = parser.add_argument_group("table, model and training")
    for settings, part in ((RunSettings, ""), (LoraSettings, "lora."), (TrainSettings, "train.")):
        add_flags(group, settings, section + part, leave_out=leave_out)
    add_set(group, section)
    group.add_argument("--settings", metavar="FILE.toml", type=Path, help="settings to start from; flags override them")
    add_reading_flags(parser.add_argument_group("how the file is read, detected unless given"))


def _add_worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(STARTED_BY, metavar="PID", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--exit-when-idle", action="store_true", help="end when the queue is empty")
    doing = parser.add_mutually_exclusive_group()
    status = "say what the worker does; exits with 0 if it runs and responds, else 1"
    doing.add_argument("--status", action="store_true", help=status)
    stop = "end the worker and what it runs; the next worker resumes its runs"
    doing.add_argument("--stop", action="store_true", help=stop)
    add_worker_flags(parser)


COMMANDS = {
    "sweep": Command(
        _of_launch("start_sweep"),
        "Compare LoRA ranks with zero-shot and full fine-tuning. Trains every point of a grid of ranks, alphas, "
        "dropouts, target modules and rates.",
        (_DATA, *_OUTPUT, _argument("--minutes", metavar="N", type=float, help=_MINUTES)),
        _add_sweep,
    ),
    "train": Command(
        _of_launch("start_training"),
        "Train one model on one table.",
        (_DATA, *_OUTPUT),
        lambda parser: _add_run(parser, "settings."),
    ),
    "fits": Command(
        print_fits,
        "Estimate the most context rows and the largest rank that fit this machine or a GPU. Recomputing, late layers "
        "and 16-bit numbers each have a line. Needed is what tensors hold at the peak, used what the process takes.",
        (_DATA, _argument("--memory", metavar="GB", type=float, help="of a GPU (default: this machine)"), _FORMAT),
        lambda parser: _add_run(parser, "settings."),
    ),
    "leaderboard": Command(
        print_leaderboard,
        "Print the runs of a sweep, best first.",
        (_SWEEP, _FORMAT, _argument("--rank-by", choices=tuple(METRICS), metavar="METRIC", help=_SCORE)),
    ),
    "runs": Command(
        list_runs,
        "List runs with their ids, newest sweep first.",
        (
            _argument("sweep", metavar="SWEEP", nargs="?", help="id of a sweep (default: all)"),
            _argument("--format", choices=("text", "json"), default="text", help="of the output"),
        ),
    ),
    "show": Command(
        show_run,
        "Print the settings, the notes and the result of one run as JSON.",
        (_argument("run", metavar="RUN", help="id of the run, as 'loralab runs' lists it"),),
    ),
    "resume": Command(
        _of_launch("resume_runs"),
        "Resume interrupted or cancelled runs of a sweep. Each goes on from its last saved state; a run without one, "
        "such as one that Ctrl-C cancelled, starts from the beginning. An adapter whose verification was killed is "
        "verified again.",
        (_SWEEP, _ADAPTERS, _FORMAT),
    ),
    "predict": Command(
        print_predictions,
        "Predict rows with an adapter. Prints CSV, one line a row.",
        (_ADAPTER, *_BASE, _CONTEXT, _argument("data", metavar="DATA", help=f"rows, with or without target: {_TABLE}")),
    ),
    "serve": Command(
        serve_adapters,
        "Serve predictions of adapters over HTTP until Ctrl-C. Loads a base once and answers POST /predict with the "
        "adapter that a request names; an adapter has the name of its file. GET /docs is a page to try it. Other "
        f"machines need a token, which is printed, or that in the variable {TOKEN_VARIABLE}.",
        (
            _argument("adapters", metavar="ADAPTER.zip", type=Path, nargs="+", help="adapters of runs on one base"),
            *(*_BASE, _CONTEXT),
            _argument("--merge", action="store_true", help="predict with merged copies of the weights: faster"),
            _argument("--address", default=LOOPBACK, metavar="HOST", help="to listen on (default: this machine)"),
            _argument("--port", type=number_within(0, 65_535), default=8600, metavar="N", help="default: 8600"),
            _argument("--allow-host", action="append", default=[], metavar="NAME", help="another name of this server"),
        ),
    ),
    "hub": Command(
        push_adapter,
        "Push an adapter to the Hugging Face Hub with a model card. The card has base model, licence, measured scores, "
        "context rows and how to load it; no row of the table, but the names of its file, its columns and the target. "
        "Every command that takes an adapter opens it as hf://owner/name. Log in with 'hf auth login'.",
        (
            _argument("action", choices=("push",), help="what to do"),
            _ADAPTER,
            _argument("repository", metavar="OWNER/NAME", help="repository; created if it does not exist"),
            _argument("--public", action="store_true", help="make a new repository public (default: private)"),
            _argument("--with-labels", action="store_true", help="name the class labels (default: their hash)"),
        ),
    ),
    "merge": Command(
        write_merged,
        "Merge an adapter into the base model. Writes a checkpoint that the model's upstream package opens.",
        (_ADAPTER, *_BASE, _argument("out", metavar="OUT", type=Path, help="checkpoint to write")),
    ),
    "export": Command(
        export_sweep,
        "Write a sweep as one HTML page or as its picture (PNG or SVG), or send it to a tracker. "
        f"Trackers are {', '.join(TRACKERS)}. Runs that are already there are not sent twice, and no row of the table "
        "is sent.",
        (_argument("to", metavar="TO[:WHERE]", help=_TO), _SWEEP),
    ),
    "doctor": Command(
        diagnose,
        "Check whether this machine has what runs need. Says how to fix each problem of Python, packages, GPUs, "
        "weights, disks, memory, the workspace and its worker. The exit status is 1 if a problem keeps runs from "
        "working. Nothing leaves the machine.",
    ),
    "worker": Command(
        work,
        "Execute queued runs, say what the worker does, or stop it. A workspace has one worker; the other commands "
        f"and the pages start it. Flags in the variable {VARIABLE}, for example {VARIABLE}='--parallel 2', are read "
        "before those of the command line and apply to every worker, also one that starts by itself.",
        more=_add_worker,
    ),
}


def program() -> NoReturn:
    """Runs the command line as a process.

    It exits at once, except for a worker, which cleans up after its children: in an orderly exit, threads of packages
    that read tables can abort a command that has succeeded.
    """
    try:
        status = main()
    except SystemExit as ended:  # by the parser, or after SIGTERM
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # disk full: main has reported it, if stderr still works
            stream.flush()
    if sys.argv[1:2] == ["worker"]:
        sys.exit(status)
    os._exit(status)
