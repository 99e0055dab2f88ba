"""The command line, the only file that prints: results on stdout; progress, findings and errors on stderr.

In: a file of data, or a table of the workspace, and settings. Out: runs in the workspace, which the pages see too, and their leaderboard.
Exit status: 0 with a result, 1 when no run had one, 2 for something to mend in the request, 130 after Ctrl-C.
"""

import argparse
import logging
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tabtune_core.analysis.runtime_estimate import TrainedOn, beyond_limit, came_from, latest, read_paces, train_seconds
from tabtune_core.cli.arguments import add_flags, add_reading_flags, answer_flags, given, given_reading
from tabtune_core.cli.terminal import follow, paragraphs, say, table
from tabtune_core.data.findings import Question, ReadingChoices
from tabtune_core.errors import LabelError, SettingError, StoreError, TableError, TabTuneError
from tabtune_core.gpus import count_cards
from tabtune_core.lora.package_reader import ADAPTER_FILE
from tabtune_core.metrics import METRICS, SELECTION, metrics_of
from tabtune_core.models.catalogue import CATALOGUE, check_features, check_request, get_card
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.settings import MANY_RUNS, REFERENCES, LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.settings.serialization import from_values
from tabtune_core.store.runs import RANKED, Run, RunStore, default_home

if TYPE_CHECKING:
    from tabtune_core.data.datasets import Dataset

USAGE = "%(prog)s DATA --target COLUMN [options]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    asked = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = asked.command
    try:
        return command(asked)
    except TabTuneError as error:
        say(f"tabtune: {error}")
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tabtune", description="LoRA trade-offs of tabular foundation models, measured on your own table."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sweep = commands.add_parser(
        "sweep",
        usage=USAGE,
        help="compare ranks, alphas, dropouts, target modules and learning rates with zero-shot and full fine-tuning",
        description="Trains LoRA at every point of a grid, and both baselines. An axis that is not given uses the value of the LoRA or"
        " training flags.",
    )
    sweep.set_defaults(command=_sweep)
    _add_data(sweep)
    sets = {"target_sets": "A set is written as row_attention+prediction_head; 'default' is the model's own list."}
    add_flags(sweep.add_argument_group("what to compare"), SweepSettings, "settings.", more=sets)
    _add_run(sweep, "settings.run.", leave_out_run=("dataset", "strategy", "seed"), leave_out_lora=("rank",))
    _add_output(sweep)

    train = commands.add_parser("train", usage=USAGE, help="one run", description="Trains one model on one table.")
    train.set_defaults(command=_train)
    _add_data(train)
    _add_run(train, "settings.", leave_out_run=("dataset", "quick_sweep"))
    _add_output(train)

    leaderboard = commands.add_parser("leaderboard", help="rank the runs of a sweep", description="Prints the runs of a sweep, best first.")
    leaderboard.set_defaults(command=_leaderboard)
    leaderboard.add_argument("--sweep", metavar="ID", help="id of the sweep (default: the newest)")
    _add_format(leaderboard)
    _add_home(leaderboard)

    curve = commands.add_parser(
        "context-curve",
        help="scores by the number of context rows",
        description="Scores zero-shot, full fine-tuning and the best LoRA at 64, 128, ... and all context rows, without training.",
    )
    curve.set_defaults(command=_context_curve)
    curve.add_argument("--sweep", metavar="ID", help="id of the sweep (default: the newest)")
    curve.add_argument("--seed", metavar="N", type=int, help="seed of the runs (default: the smallest of the sweep)")
    _add_format(curve)
    _add_home(curve)

    predict = commands.add_parser("predict", help="predict rows with an adapter", description="Prints predictions as CSV, one line a row.")
    predict.set_defaults(command=_predict)
    _add_adapter(predict)
    predict.add_argument("data", metavar="DATA", type=Path, help="CSV or Parquet file with the rows to predict; the target may be missing")
    predict.add_argument(
        "--context", metavar="TABLE", type=Path, help="the table that the adapter was trained on (default: the one in the workspace)"
    )
    _add_home(predict)

    merge = commands.add_parser(
        "merge",
        help="merge an adapter into the base model",
        description="Writes a checkpoint that the model's upstream package opens, with the adapter in the weights.",
    )
    merge.set_defaults(command=_merge)
    _add_adapter(merge)
    merge.add_argument("out", metavar="OUT", type=Path, help="checkpoint to write")

    worker = commands.add_parser(
        "worker", help="execute queued runs", description="Executes the queued runs of a workspace, one at a time."
    )
    worker.set_defaults(command=_worker)
    worker.add_argument("--exit-when-idle", action="store_true", help="end when the queue is empty")
    _add_home(worker)
    return parser


def _add_adapter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", metavar="ADAPTER.zip", type=Path, help="adapter package of a run")
    parser.add_argument("--checkpoint", metavar="FILE", type=Path, help="weights of the base, where they are not found by themselves")
    parser.add_argument("--device", metavar="TEXT", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", type=Path, help="CSV or Parquet file, or the id of a table that is in the workspace")
    parser.add_argument("--settings", metavar="FILE.toml", type=Path, help="settings to start from; flags go before them")
    parser.add_argument("--name", default="", metavar="TEXT", help="what the pages call these runs (default: table and model)")
    add_reading_flags(parser.add_argument_group("how the file is read", "Detected from the file unless given."))


def _add_run(parser: argparse.ArgumentParser, section: str, *, leave_out_run: Sequence[str], leave_out_lora: Sequence[str] = ()) -> None:
    more = {"model": f"One of {', '.join(CATALOGUE)}.", "task": "(default: by the values of the target)"}
    add_flags(parser.add_argument_group("table and model"), RunSettings, section, leave_out=leave_out_run, more=more)
    add_flags(parser.add_argument_group("LoRA"), LoraSettings, f"{section}lora.", leave_out=leave_out_lora)
    add_flags(parser.add_argument_group("training"), TrainSettings, f"{section}train.")


def _add_output(parser: argparse.ArgumentParser) -> None:
    _add_format(parser)
    parser.add_argument("--adapters", metavar="DIR", type=Path, help="copy the adapter packages there, as lora-r8-seed0.zip")
    _add_home(parser)


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="of the leaderboard on stdout (default: table)")
    parser.add_argument(
        "--rank-by",
        choices=tuple(METRICS),
        metavar="METRIC",
        help="validation score to rank by (default: the selection metric); "
        + "; ".join(f"for {task}: {', '.join(metrics_of(task))}" for task in SELECTION),
    )


def _add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--home", metavar="DIR", type=Path, default=default_home(), help="the workspace (default: TABTUNE_HOME or ~/.tabtune)"
    )


def _sweep(asked: argparse.Namespace) -> int:
    store = RunStore(asked.home)
    dataset = _dataset(store, asked)
    values = given(asked, _read_settings(asked.settings))
    run = {**values.get("run", {}), "dataset": dataset.id}
    _settle_target(store, dataset, run)
    sweep: SweepSettings = from_values(SweepSettings, {**values, "run": run}, "")
    say(f"{sweep.size} runs: {sweep.formula}")
    if sweep.size > MANY_RUNS:
        say(f"warning: that is more than {MANY_RUNS}. They run one after the other; Ctrl-C cancels what has not run.")
    return _launch(store, asked, dataset, sweep.expand())


def _train(asked: argparse.Namespace) -> int:
    store = RunStore(asked.home)
    dataset = _dataset(store, asked)
    run = {**given(asked, _read_settings(asked.settings)), "dataset": dataset.id}
    _settle_target(store, dataset, run)
    return _launch(store, asked, dataset, [RunSettings.from_dict(run)])


def _leaderboard(asked: argparse.Namespace) -> int:
    store = RunStore(asked.home)
    return _show(store, _runs_of_sweep(store, asked.sweep), asked)


def _context_curve(asked: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from tabtune_core.analysis.context_rows import curve_frame, in_words, runs_of_curve
    from tabtune_core.execution.jobs.context_curve import context_curve

    store = RunStore(asked.home)
    runs = _runs_of_sweep(store, asked.sweep)
    metric = _rank_by(asked, runs[0].settings)
    chosen = runs_of_curve(store, runs, metric, asked.seed)
    if not chosen:
        raise StoreError("No run of this sweep and seed has finished yet, so there is nothing to score with more context rows.")
    say(f"Scoring {', '.join(run.name for run in chosen)} and the model as it is")
    with TemporaryDirectory() as folder:
        frame = curve_frame(context_curve(store.home, Path(folder), runs=[run.id for run in chosen]))
    if asked.format == "json":
        print(frame.to_json(orient="records", indent=2, double_precision=15, force_ascii=False))
    elif asked.format == "csv":
        print(frame.to_csv(index=False), end="")
    else:
        columns = [name for name in (f"validation_{metric}", f"test_{metric}") if name in frame]
        print(frame[["name", "context_rows", *columns, "predict_seconds", "growth_memory_bytes"]].to_string(index=False))
        print(f"\n{in_words(frame, metric)}")
    return 0


def _runs_of_sweep(store: RunStore, sweep: str | None) -> list[Run]:
    """The runs of a sweep, or of the newest."""
    sweeps = store.sweeps()
    if not sweeps:
        raise StoreError(f"The workspace {store.home} holds no runs yet; start some with 'tabtune sweep DATA --target COLUMN'.")
    return store.runs(sweep or sweeps[0].id)


def _predict(asked: argparse.Namespace) -> int:
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.prediction_rows import read_new_rows, unknown_categories
    from tabtune_core.data.table import LIMIT_BYTES, read_table
    from tabtune_core.engine.adapted_model import load_adapter

    model = load_adapter(asked.adapter, checkpoint=asked.checkpoint, device=asked.device)
    table = read_table(asked.context, model.reading).frame if asked.context else load_frame(asked.home, model.settings.dataset)
    context, rows = model.context(table), read_new_rows(asked.data, model.facts, limit_bytes=LIMIT_BYTES)
    for note in (*rows.notes, *unknown_categories(rows.frame, context.encoder)):
        say(note)
    predicted = model.predict_table(rows.frame, context=context)
    print(predicted.to_csv(index=False), end="")
    return 0


def _merge(asked: argparse.Namespace) -> int:
    from tabtune_core.engine.adapted_model import load_adapter

    load_adapter(asked.adapter, checkpoint=asked.checkpoint, device=asked.device).save_merged(asked.out)
    say(f"Merged into {asked.out}")
    return 0


def _worker(asked: argparse.Namespace) -> int:
    from tabtune_core.execution.worker import run_worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run_worker(asked.home, exit_when_idle=asked.exit_when_idle)
    return 0


def _dataset(store: RunStore, asked: argparse.Namespace) -> "Dataset":
    """The table that DATA names: a file is read, a table of the workspace is taken as it was read."""
    from tabtune_core.data.datasets import ID, add_dataset, folder_of, get_dataset

    path, choices = asked.data, given_reading(asked)
    if path.is_file():
        dataset = add_dataset(store.home, path, path.name, choices)
        for finding in dataset.findings:
            say(f"{finding.severity}: {finding.message}")
        for question in dataset.questions:
            _say_question(question)
        return dataset
    if not ID.fullmatch(str(path)):
        raise TableError(
            f"There is no file {str(path)!r}. Give the path of a CSV or Parquet file, or the id of a table in the workspace {store.home}."
        )
    dataset = get_dataset(store.home, str(path))
    if choices != ReadingChoices():
        source = folder_of(store.home, dataset.id) / "source"
        raise TableError(f"The table {dataset.name!r} is taken as it was read. To read its file in another way, give that: {source}")
    return dataset


def _say_question(question: Question) -> None:
    say(f"question: {question.message} On the command line: {answer_flags(question)}.")


def _read_settings(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"The settings file {str(path)!r} cannot be read as TOML: {error}.") from error


def _settle_target(store: RunStore, dataset: "Dataset", run: dict[str, Any]) -> None:
    """Refuses a request without a target and names the likely one; where nothing is said, asks how to split and says the task."""
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.split_question import split_question
    from tabtune_core.data.table import Table
    from tabtune_core.data.target import propose_target, ways_of

    frame = load_frame(store.home, dataset.id)
    target = run.get("target")
    if not target:
        likely = propose_target(Table(frame, dataset.columns, dataset.findings, dataset.questions, dataset.reading))
        hint = f" Likely: {likely.reason}" if likely.column else f" {likely.reason}"
        raise LabelError(f"Name the column to predict with --target.{hint} The table has {', '.join(map(str, frame.columns))}.")

    question = None if "split_by" in run else split_question(dataset.columns, dataset.rows, target)
    if question is not None:
        _say_question(question)
    if "task" in run or run.get("split_at_median") or target not in frame:  # what is absent is said with the target
        return
    ways = ways_of(frame[target])
    run["task"] = "regression" if ways[0] == "numbers" else "classification"
    if ways[0] == "numbers":
        why = "holds numbers on a scale; --task classification or --split-at-median for classes"
    elif "numbers" in ways:
        why = f"holds {frame[target].nunique()} different numbers, each a class; --task regression to predict them as numbers"
    else:
        why = "holds classes"
    say(f"{run['task']}: {target!r} {why}")


def _check_target(store: RunStore, dataset: "Dataset", settings: Sequence[RunSettings]) -> TrainedOn:
    """Refuses what cannot be predicted, or split, as asked, and says what to know; returns what would be trained on."""
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.encoding import count_features
    from tabtune_core.data.pair_leakage import pairs_that_give
    from tabtune_core.data.target import check_label, with_label
    from tabtune_core.data.task import check_split, kinds_of, plan_split

    first, needs_model = settings[0], any(one.strategy not in REFERENCES for one in settings)
    whole, kinds = load_frame(store.home, first.dataset), kinds_of(dataset.columns, first)
    frame = with_label(whole, first.target, at_median=first.split_at_median)
    card = get_card(first.model)
    found = check_label(frame, first.target, max_classes=card.family.class_limit if needs_model else None, task=first.task)
    if needs_model:
        check_features(card, count_features(kinds, first.target))
    splits = (finding for one in {run.seed: run for run in settings}.values() for finding in check_split(whole, one))
    for finding in dict.fromkeys((*found, *pairs_that_give(whole, kinds, first.target), *splits)):
        say(f"{finding.severity}: {finding.message}")
    on_gpu = first.device.startswith("cuda") or (first.device == "auto" and count_cards() > 0)
    classes = 0 if first.task == "regression" else frame[first.target].nunique()
    features = count_features(kinds, first.target)
    return TrainedOn.plan(plan_split(whole, first), features=features, classes=classes, on_gpu=on_gpu)


def _say_time(store: RunStore, settings: list[RunSettings], trained_on: TrainedOn) -> None:
    """What earlier runs tell of how long these take; nothing where none was like them."""
    paces = read_paces(store, [run.id for run in latest(store.runs(), settings[0].model)])
    estimate, short = train_seconds(settings, paces, trained_on), beyond_limit(settings, paces, trained_on)
    if estimate is not None and estimate.seconds:
        say(f"Training takes about {estimate.seconds:,.1f} s in all if nothing stops early, {came_from(estimate)}.")
    if any(one.quick_sweep for one in settings):
        say("How long training takes is not known for a quick sweep, whose runs train together.")
    if short:
        say(f"warning: {short}")


def _launch(store: RunStore, asked: argparse.Namespace, dataset: "Dataset", settings: list[RunSettings]) -> int:
    """Queues the runs, follows them to their end and shows how they did."""
    first = settings[0]
    _rank_by(asked, first)
    trained_on = _check_target(store, dataset, settings)
    for one in settings:
        check_request(one)
    _say_time(store, settings, trained_on)
    card = get_card(first.model)
    if any(one.strategy not in REFERENCES for one in settings):
        find_checkpoint(card, first.task, first.checkpoint)  # a download shows its progress here, not in a run's log
    if asked.adapters:
        _make_folder(asked.adapters)
    name = "; ".join(filter(None, (f"{dataset.name}: {card.title}", first.split)))
    sweep, ids = store.add_sweep(settings, asked.name or name)
    say(f"Sweep {sweep}: {len(ids)} runs in {store.home}")
    try:
        runs = follow(store, sweep)
    except KeyboardInterrupt:
        for run_id in ids:
            store.ask(run_id, "cancel")
        say("\nCancelled what was queued, and asked the running run to end. Its log stays; press Ctrl-C again to leave at once.")
        follow(store, sweep)
        return 130
    if asked.adapters:
        _copy_adapters(store, runs, asked.adapters)
    return _show(store, runs, asked)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"--adapters: {str(folder)!r} is no folder that can be written to ({error.strerror}). Choose another."
        ) from error


def _copy_adapters(store: RunStore, runs: Sequence[Run], folder: Path) -> None:
    for run in runs:
        if run.result is None or run.result.adapter_bytes is None:
            continue
        if not run.result.adapter_verified:
            say(f"{run.name}: its adapter did not give the run's predictions when it was opened again, so it is not copied.")
            continue
        target = folder / f"{_file_name(run)}.zip"
        shutil.copyfile(store.run_dir(run.id) / ADAPTER_FILE, target)
        say(f"{run.name}: {target}")


def _file_name(run: Run) -> str:
    """For example ``lora-r8-dropout-0.1-seed0``."""
    label = run.name.removesuffix(f" seed {run.settings.seed}").lower().replace("=", "")
    return f"{re.sub('[^a-z0-9.+-]+', '-', label).strip('-')}-seed{run.settings.seed}"


def _rank_by(asked: argparse.Namespace, settings: RunSettings) -> str:
    """The score to rank by; refused where it is one of another task."""
    fitting = metrics_of(settings.task)
    if asked.rank_by not in (None, *fitting):
        raise SettingError(f"--rank-by is {asked.rank_by!r}; for {settings.task} it must be one of {', '.join(fitting)}.")
    return str(asked.rank_by or settings.selection_metric)


def _show(store: RunStore, runs: Sequence[Run], asked: argparse.Namespace) -> int:
    """Prints the leaderboard and, as text, what it says about rank; 0 if any run has a result."""
    from tabtune_core.analysis.leaderboard import leaderboard, of_task
    from tabtune_core.analysis.recommendation import recommend

    rank_by = _rank_by(asked, runs[0].settings)
    board = of_task(leaderboard(runs, rank_by), runs[0].settings.task)
    if asked.format == "json":
        print(board.to_json(orient="records", indent=2, double_precision=15, force_ascii=False))
    elif asked.format == "csv":
        print(board.to_csv(index=False), end="")
    else:
        print(table(board, rank_by))
        found = recommend(store, board, rank_by)
        print(paragraphs(found.sentences, found.basis), end="")
        for pack in filter(None, board["pack"].unique()):
            print(pack)
    for split in dict.fromkeys(run.settings.split for run in runs if run.settings.split):
        say(f"Rows were {split}.")
    for run in runs:
        if run.error:
            say(f"{run.name}: {run.error}")
    return 0 if any(run.status in RANKED for run in runs) else 1


def program() -> NoReturn:
    """The command line as a process of its own.

    But for a worker, which tidies up after its children, it ends as soon as all is said: in an orderly end, threads of the packages that
    read tables, and the one that waits for a worker, can abort a command that has succeeded.
    """
    status = main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if sys.argv[1:2] == ["worker"]:
        sys.exit(status)
    os._exit(status)


if __name__ == "__main__":
    program()
