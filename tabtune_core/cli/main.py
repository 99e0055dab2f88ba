"""The command line: results on stdout; progress, findings and errors on stderr.

In: a file of data, or a table of the workspace, and settings. Out: runs in the workspace, which the pages also show,
and their leaderboard.
Exit status: 0 with a result, 1 if no run had one, 2 if the request or the machine needs a fix, 130 after Ctrl-C, 141 if
the reader of stdout has closed it.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tabtune_core.access import LOOPBACK, TOKEN_VARIABLE
from tabtune_core.cli.arguments import INSIST, add_flags, add_reading_flags
from tabtune_core.cli.commands import (
    diagnose,
    print_context_curve,
    print_leaderboard,
    print_predictions,
    serve_adapters,
    write_merged,
)
from tabtune_core.cli.export_command import export_sweep, push_adapter
from tabtune_core.cli.runs_command import list_runs, show_or_cancel, show_run
from tabtune_core.cli.terminal import say
from tabtune_core.cli.worker_command import work
from tabtune_core.errors import SettingError, StoreError, TabTuneError
from tabtune_core.execution.lock import STARTED_BY
from tabtune_core.execution.worker_flags import (
    VARIABLE,
    add_flags_of_worker,
    check_environment,
    flags_in_environment,
    named_home,
    number_within,
)
from tabtune_core.metrics import METRICS, SELECTION, metrics_of
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.shortage import named, raise_file_limit
from tabtune_core.store.runs import default_home
from tabtune_core.tracking import TRACKERS, open_tracker
from tabtune_core.upstream import DISTRIBUTION, installed

USAGE = "%(prog)s DATA --target COLUMN [options]"
_TABLE = (
    "a file (CSV, Parquet, Feather, JSON lines, a workbook), several Parquet files or a folder of them, an address "
    "(https://,"
    " hf://datasets/OWNER/NAME/FILE, openml:ID), or the id of a table that is in the workspace"
)
_WHERE = (
    "WHERE is a tracking URI of mlflow, a project of wandb, a folder of trackio or tensorboard (default: from the "
    "tool's own"
    " environment variables, else in the workspace)"
)
OF_KEPT_RUNS = ("leaderboard", "runs", "show", "resume", "context-curve", "export", "jobs")
"""Commands that need an existing workspace; without a check they would create the folder of a mistyped --home."""

COMPUTING = ("context-curve", "predict", "serve", "merge")
"""Commands that load torch, whose library MKL ends the process without a reason if the current folder was deleted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        if given[:1] == ["worker"]:
            given[1:1] = flags_in_environment()
        asked = _parser().parse_args(given)
        if getattr(asked, "home", "none") is None:
            asked.home = default_home()
        elif given[0] in OF_KEPT_RUNS and not asked.home.exists():
            raise StoreError(
                f"There is no folder {str(asked.home)!r}, so it holds no runs. Name a workspace with --home."
            )
        command: Callable[[argparse.Namespace], int] = asked.command
        with named(folder=getattr(asked, "home", None)):
            if given[0] in COMPUTING:
                os.getcwd()
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
    parser = argparse.ArgumentParser(
        prog="loralab", description="LoRA trade-offs of tabular foundation models, measured on your own table."
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {installed(DISTRIBUTION) or '(not installed)'}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sweep = commands.add_parser(
        "sweep",
        usage=USAGE,
        help="compare ranks, alphas, dropouts, target modules and learning rates with zero-shot and full fine-tuning",
        description="Trains LoRA at every point of a grid, and both baselines. An axis that is not given uses the "
        "value of the LoRA or"
        " training flags.",
    )
    sweep.set_defaults(command=_of_launch("start_sweep"))
    _add_data(sweep)
    sets = {"target_sets": "A set is written as row_attention+prediction_head; 'default' is the model's own list."}
    add_flags(sweep.add_argument_group("what to compare"), SweepSettings, "settings.", more=sets)
    _add_run(sweep, "settings.run.", leave_out_run=("dataset", "strategy", "seed"), leave_out_lora=("rank",))
    _add_output(sweep)

    train = commands.add_parser("train", usage=USAGE, help="one run", description="Trains one model on one table.")
    train.set_defaults(command=_of_launch("start_training"))
    _add_data(train)
    _add_run(train, "settings.", leave_out_run=("dataset",))
    _add_output(train)

    leaderboard = commands.add_parser(
        "leaderboard", help="rank the runs of a sweep", description="Prints the runs of a sweep, best first."
    )
    leaderboard.set_defaults(command=print_leaderboard)
    leaderboard.add_argument("--sweep", metavar="ID", help="id of the sweep (default: the newest)")
    _add_format(leaderboard)

    runs = commands.add_parser(
        "runs", help="list runs with their ids", description="Lists the runs of the workspace, newest sweep first."
    )
    runs.set_defaults(command=list_runs)
    runs.add_argument("--sweep", metavar="ID", help="id of a sweep (default: all)")
    _add_form(runs)

    show = commands.add_parser(
        "show",
        help="one run with its settings",
        description="Prints the settings, the notes and the result of one run.",
    )
    show.set_defaults(command=show_run)
    show.add_argument("run", metavar="RUN", help="id of the run, as 'loralab runs' lists it")
    _add_form(show)

    resume = commands.add_parser(
        "resume",
        help="resume interrupted or cancelled runs",
        description="Resumes runs whose process was killed, each from its last saved state; a run without one, such "
        "as one that Ctrl-C"
        " cancelled, starts from the beginning.",
    )
    resume.set_defaults(command=_of_launch("resume_runs"))
    resume.add_argument(
        "runs", metavar="RUN", nargs="*", help="ids of runs (default: all interrupted and cancelled runs of the sweep)"
    )
    resume.add_argument("--sweep", metavar="ID", help="id of the sweep (default: the newest, or that of the runs)")
    _add_log_to(resume)
    _add_adapters(resume)
    _add_format(resume)

    curve = commands.add_parser(
        "context-curve",
        help="scores by the number of context rows",
        description="Scores zero-shot, full fine-tuning and the best LoRA at 64, 128, ... and all context rows, "
        "without training.",
    )
    curve.set_defaults(command=print_context_curve)
    curve.add_argument("--sweep", metavar="ID", help="id of the sweep (default: the newest)")
    curve.add_argument("--seed", metavar="N", type=int, help="seed of the runs (default: the smallest of the sweep)")
    _add_format(curve)

    predict = commands.add_parser(
        "predict", help="predict rows with an adapter", description="Prints predictions as CSV, one line a row."
    )
    predict.set_defaults(command=print_predictions)
    _add_adapter(predict)
    rows = f"the rows to predict, in which the target may be missing: {_TABLE}, or query:SQL"
    predict.add_argument("data", metavar="DATA", nargs="+", help=rows)
    _add_context(predict)

    serve = commands.add_parser(
        "serve",
        help="serve predictions of adapters over HTTP",
        description="Loads a base once and answers POST /predict with the adapter that a request names, until "
        "Ctrl-C. An adapter has the"
        " name of its file. GET /docs is a page to try it; there are also /adapters, /limits, /health, /metrics and "
        "/openapi.json.",
    )
    serve.set_defaults(command=serve_adapters)
    serve.add_argument(
        "adapters",
        metavar="ADAPTER.zip",
        type=Path,
        nargs="+",
        help="adapter packages of runs on one base, or hf://owner/name",
    )
    _add_base(serve)
    _add_context(serve)
    serve.add_argument(
        "--merge",
        action="store_true",
        help="predict with copies of the weights that hold the adapter: faster, more memory",
    )
    serve.add_argument(
        "--address",
        default=LOOPBACK,
        metavar="HOST",
        help="address to listen on (default: 127.0.0.1, this machine only)",
    )
    serve.add_argument(
        "--port", type=number_within(0, 65_535), default=8600, metavar="N", help="port to listen on (default: 8600)"
    )
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name by which clients reach this server",
    )
    token = (
        f"token that a request must send as 'Authorization: Bearer TOKEN'; set the variable {TOKEN_VARIABLE} instead "
        "to keep it out of"
        " process lists (default: generated if other machines can reach the server)"
    )
    serve.add_argument("--token", metavar="TEXT", help=token)
    serve.add_argument(
        "--max-rows",
        type=number_within(1, 10**9),
        default=10_000,
        metavar="N",
        help="most rows of a request (default: 10000)",
    )
    serve.add_argument(
        "--max-mb",
        type=number_within(1, 10**6),
        default=10,
        metavar="N",
        help="largest request in megabytes (default: 10)",
    )

    hub = commands.add_parser(
        "hub",
        help="push an adapter to the Hugging Face Hub",
        description="Pushes an adapter package with a model card: base model, licence, measured scores and their "
        "intervals, context rows,"
        " how to load it. It contains no row of the table, but the names of its file, its columns and the target. "
        "Every command that"
        " takes an adapter opens it as hf://owner/name. Log in with 'hf auth login' first.",
    )
    hub.set_defaults(command=push_adapter)
    hub.add_argument("action", choices=("push",), help="what to do")
    hub.add_argument(
        "adapter", metavar="ADAPTER", help="id of a run, or an adapter package, whose card then has no intervals"
    )
    hub.add_argument("repository", metavar="OWNER/NAME", help="repository; created if it does not exist")
    hub.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    hub.add_argument(
        "--with-labels", action="store_true", help="name the class labels, values of the table (default: their hash)"
    )

    merge = commands.add_parser(
        "merge",
        help="merge an adapter into the base model",
        description="Writes a checkpoint that the model's upstream package opens, with the adapter in the weights.",
    )
    merge.set_defaults(command=write_merged)
    _add_adapter(merge)
    merge.add_argument("out", metavar="OUT", type=Path, help="checkpoint to write")

    export = commands.add_parser(
        "export",
        help="a sweep as one HTML page, or in MLflow, Weights & Biases, Trackio or TensorBoard",
        description=f"Writes a sweep as one page to mail (html), or sends it to a tracker: {', '.join(TRACKERS)}. "
        "Runs that are already"
        " there are not sent twice, and no row of the table is sent.",
    )
    export.set_defaults(command=export_sweep)
    export.add_argument("to", metavar="TO[:WHERE]", help=f"html[:FILE], or a tracker; {_WHERE}")
    export.add_argument("sweep", metavar="SWEEP", nargs="?", help="id of the sweep (default: the newest)")

    jobs = commands.add_parser(
        "jobs",
        help="list or cancel the jobs that the pages started",
        description="Lists the predictions, exports and curves that are queued or running, newest first.",
    )
    jobs.set_defaults(command=show_or_cancel)
    jobs.add_argument("--all", action="store_true", help="also list jobs that have ended")
    jobs.add_argument(
        "--cancel", metavar="ID", nargs="+", help="cancel these jobs; a running job is ended and its output removed"
    )

    doctor = commands.add_parser(
        "doctor",
        help="check whether this machine has what runs need",
        description="Checks Python, packages, GPUs, weights, disks, memory, the workspace and its worker, and says "
        "how to fix each problem."
        " The exit status is 1 if a problem keeps runs from working. Nothing leaves the machine.",
    )
    doctor.set_defaults(command=diagnose)
    _add_form(doctor)

    worker = commands.add_parser(
        "worker",
        help="execute queued runs, say what the worker does, or stop it",
        description="Executes the queued runs of a workspace, which has one worker; the other commands and the pages "
        f"start it. Flags in the variable {VARIABLE}, for example {VARIABLE}='--parallel 2', are read before those of "
        "the command line and apply to every worker, also one that starts by itself.",
    )
    worker.set_defaults(command=work)
    worker.add_argument(STARTED_BY, metavar="PID", type=int, default=0, help=argparse.SUPPRESS)
    worker.add_argument("--exit-when-idle", action="store_true", help="end when the queue is empty")
    doing = worker.add_mutually_exclusive_group()
    doing.add_argument(
        "--status", action="store_true", help="say what the worker does; exits with 0 if it runs and responds, else 1"
    )
    doing.add_argument(
        "--stop", action="store_true", help="end the worker and what it runs; the next worker resumes its runs"
    )
    add_flags_of_worker(worker)
    for name, command in commands.choices.items():
        if name != "merge":
            command.add_argument(
                "--home", metavar="DIR", type=named_home, help="the workspace (default: TABTUNE_HOME or ~/.tabtune)"
            )
    return parser


def _of_launch(name: str) -> Callable[[argparse.Namespace], int]:
    """Returns a command that starts runs.

    It imports its module late: pandas takes a fifth of a second, which other commands save.
    """

    def command(asked: argparse.Namespace) -> int:
        from tabtune_core.cli import launch

        check_environment()
        raise_file_limit()
        if len(asked.log_to or ()) > 1:
            raise SettingError(
                "--log-to follows one tracker and is given more than once. 'loralab export' sends a sweep to others."
            )
        asked.tracker = open_tracker(asked.log_to[0], asked.home) if asked.log_to else None
        status: int = getattr(launch, name)(asked)
        return status

    return command


def _add_adapter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "adapter", metavar="ADAPTER.zip", type=Path, help="adapter package of a run, or hf://owner/name"
    )
    _add_base(parser)


def _add_context(parser: argparse.ArgumentParser) -> None:
    text = (
        "the table that the adapter was trained on: a file, a folder, an address or an id (default: the one in "
        "the workspace)"
    )
    parser.add_argument("--context", metavar="TABLE", help=text)


def _add_base(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="weights of the base, if they are not found automatically"
    )
    parser.add_argument("--device", metavar="TEXT", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", nargs="*", help=_TABLE)
    parser.add_argument(
        "--query",
        metavar="SQL",
        help="in place of DATA: a query that DuckDB runs, such as \"select * from 'x.parquet'\"",
    )
    parser.add_argument(
        "--settings", metavar="FILE.toml", type=Path, help="settings to start from; flags override them"
    )
    parser.add_argument(
        "--name", default="", metavar="TEXT", help="what the pages call these runs (default: table and model)"
    )
    add_reading_flags(parser.add_argument_group("how the file is read", "Detected from the file unless given."))


def _add_run(
    parser: argparse.ArgumentParser, section: str, *, leave_out_run: Sequence[str], leave_out_lora: Sequence[str] = ()
) -> None:
    more = {"model": f"One of {', '.join(CATALOGUE)}.", "task": "(default: by the values of the target)"}
    add_flags(parser.add_argument_group("table and model"), RunSettings, section, leave_out=leave_out_run, more=more)
    add_flags(parser.add_argument_group("LoRA"), LoraSettings, f"{section}lora.", leave_out=leave_out_lora)
    add_flags(parser.add_argument_group("training"), TrainSettings, f"{section}train.")


def _add_log_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-to",
        metavar="TRACKER[:WHERE]",
        action="append",
        help=f"show the runs at a tracker while they go on: {', '.join(TRACKERS)}; {_WHERE}",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    _add_log_to(parser)
    _add_format(parser)
    parser.add_argument(
        INSIST,
        dest="insist",
        action="store_true",
        help="start runs even if they probably need more memory or disk space than there is",
    )
    _add_adapters(parser)


def _add_adapters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--adapters", metavar="DIR", type=Path, help="copy the adapter packages there, as lora-r8-seed0.zip"
    )
    parser.add_argument(
        "--without-labels",
        action="store_true",
        help="leave the class labels, values of the table, out of those packages",
    )


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json"),
        default="table",
        help="of the leaderboard on stdout (default: table)",
    )
    parser.add_argument(
        "--rank-by",
        choices=tuple(METRICS),
        metavar="METRIC",
        help="validation score to rank by (default: the selection metric); "
        + "; ".join(f"for {task}: {', '.join(metrics_of(task))}" for task in SELECTION),
    )


def _add_form(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="of what is printed on stdout (default: text)"
    )


def program() -> NoReturn:
    """Runs the command line as a process.

    Except for a worker, which cleans up after its children, the process exits at once: during an orderly exit, threads
    of packages that read tables can abort a command that has succeeded.
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
