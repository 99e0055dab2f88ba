"""``sweep``, ``train`` and ``resume``: queues runs, follows them to their end, and prints their leaderboard."""

import argparse
import itertools
import re
import shlex
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from tabtune_core.analysis.runtime_estimate import (
    Pace,
    TrainedOn,
    came_from,
    known_paces,
    measured_paces,
    not_known,
    train_seconds,
)
from tabtune_core.cli.arguments import INSIST, flag_of, given, settings_given
from tabtune_core.cli.kept_runs import runs_of_sweep, show_board
from tabtune_core.cli.request import check_target, dataset_of, read_settings_file, say_what_may_leak, settle_target
from tabtune_core.cli.terminal import follow, say
from tabtune_core.errors import SettingError, StoreError, TabTuneError
from tabtune_core.execution.cores import divide, stay_on
from tabtune_core.execution.lock import ensure_worker, worker_of
from tabtune_core.execution.worker_flags import asked_by_environment, cluster_for_new_runs
from tabtune_core.files.whole import in_one_move
from tabtune_core.models.catalogue import get_card, with_tried_rates, with_usual_rate
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.scratch import scratch_folder
from tabtune_core.search.budget import Clock, Parts, check_budget
from tabtune_core.search.summary import summarize
from tabtune_core.settings import AXES, MANY_RUNS, REFERENCES, SETTINGS, STRATEGY_NAMES, RunSettings, SweepSettings
from tabtune_core.settings.labels import numbered
from tabtune_core.settings.serialization import from_values
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import ENDED, RANKED, Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import counted

if TYPE_CHECKING:
    from tabtune_core.data.datasets import Dataset

LONGEST_LABEL = 200
"""Most letters of a run's label in a file name, which may have 255."""
MEASURING_SECONDS = 60.0


def start_sweep(asked: argparse.Namespace) -> int:
    """Runs a sweep."""
    store = RunStore(asked.home)
    dataset = dataset_of(store, asked)
    values = given(asked, read_settings_file(asked.settings, SweepSettings))
    if asked.minutes is not None and (named := [flag_of(name) for name in (*AXES, "one_rate") if name in values]):
        raise SettingError(f"--minutes chooses the ranks, rates and other values itself; leave out {', '.join(named)}.")
    run = {**values.get("run", {}), "dataset": dataset.id}
    settle_target(store, dataset, run)
    if asked.minutes is not None:
        parts = Parts.of(from_values(SweepSettings, {**values, "run": run}, ""))
        return _launch(store, asked, dataset, parts.runs, search=True)
    sweep = with_tried_rates(from_values(SweepSettings, {**values, "run": run}, ""))
    say(f"{counted(sweep.size, 'run')}: {sweep.formula}")
    if sweep.size > MANY_RUNS:
        say(f"warning: that is more than {MANY_RUNS}. Ctrl-C cancels the runs that have not ended.")
    return _launch(store, asked, dataset, sweep.expand(), halving=sweep.halves)


def start_training(asked: argparse.Namespace) -> int:
    """Does one run."""
    store = RunStore(asked.home)
    dataset = dataset_of(store, asked)
    run = {**given(asked, read_settings_file(asked.settings, RunSettings)), "dataset": dataset.id}
    settle_target(store, dataset, run)
    settings = RunSettings.from_dict(run)
    for row in (SETTINGS[path.split(".")[-1]] for path in settings_given(asked)):
        unused = "" if settings.strategy in row.strategies else f"with the strategy {settings.strategy!r}"
        if unused or settings.is_replaced(row.name):
            say(f"warning: {flag_of(row.name)} changes nothing {unused or f'beside {flag_of(row.replaced_by)}'}.")
    return _launch(store, asked, dataset, [settings])


def _say_time(store: RunStore, settings: list[RunSettings], trained_on: TrainedOn, *, halving: bool) -> None:
    """Prints how long these runs will take, by earlier runs like them."""
    estimate = train_seconds(settings, known_paces(store, settings[0].model), trained_on, halving=halving)
    if estimate is None:
        say("How long training takes is not known yet.")
    elif seconds := estimate.seconds:
        takes = f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
        say(f"Training takes about {takes} in all if nothing stops early, {came_from(estimate)}.")


def _check_time(store: RunStore, search: "Parts", seconds: float, trained_on: TrainedOn) -> None:
    """Refuses a search that is too short, by earlier runs or a few measured steps; says how long a run takes."""
    runs, paces = [search.template, *search.last], known_paces(store, search.template.model)
    if cluster_for_new_runs(store.home) is None:
        paces += _measured(store, runs, paces, trained_on)
    say(check_budget(seconds, search.template, search.last, Clock(paces, trained_on)))


def _measured(store: RunStore, settings: list[RunSettings], paces: list[Pace], trained_on: TrainedOn) -> Sequence[Pace]:
    """Measures a few steps of each kind of run in a process of its own; nothing if that fails or takes a minute."""
    from tabtune_core.execution.jobs.measure_pace import measure_pace

    kinds = not_known(settings, paces, trained_on)
    if not kinds:
        return []
    say("Measuring a few training steps, to say how long the runs take.")
    flags = asked_by_environment()
    threads = divide(flags.parallel, flags.threads).threads
    with scratch_folder() as folder, ProcessPoolExecutor(1, get_context("spawn"), stay_on, ((), threads)) as pool:
        held = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process inherits this: Ctrl-C is for this one
        measuring = pool.submit(measure_pace, store.home, folder, settings=[run.to_dict() for run in kinds])
        signal.signal(signal.SIGINT, held)
        try:
            return measured_paces([measuring.result(MEASURING_SECONDS)])
        except (TabTuneError, RuntimeError, OSError):  # the runs will say it, if it is theirs; a timeout is an OSError
            return []
        finally:
            for process in (pool._processes or {}).values():
                process.kill()


def _launch(
    store: RunStore,
    asked: argparse.Namespace,
    dataset: "Dataset",
    settings: list[RunSettings],
    *,
    halving: bool = False,
    search: bool = False,
) -> int:
    """Queues the runs, or those that a search begins with, follows them to their end and shows how they did."""
    from tabtune_core.analysis.launch_checks import on_unequal_gpus, too_large

    first = settings[0]
    if first.target in getattr(asked, "reading.leave_out", ()):
        both = f"--leave-out names {first.target!r}, which is the column to predict"
        raise SettingError(f"{both}. Name it in one place only.")
    trained_on = check_target(store, dataset, settings)
    if cluster_for_new_runs(store.home) is None:  # a cluster's nodes have other memory than this machine
        if not asked.insist and (reason := too_large(store.home, settings)):
            raise SettingError(f"{reason} Nothing was started; {INSIST} starts it anyway.")
        settings = on_unequal_gpus(store.home, settings)
    _make_folder(asked.adapters)
    _say_weights(settings)
    name = "; ".join(filter(None, (f"{dataset.name}: {get_card(first.model).title}", first.split)))
    if search:
        seconds, parts = 60 * asked.minutes, Parts.sort(settings)
        _check_time(store, parts, seconds, trained_on)
        sweep, ids = parts.add(store, seconds, trained_on, asked.name or f"{name}; {asked.minutes:g} minutes")
        say(f"Search {sweep} in {store.home}")
    else:
        _say_time(store, settings, trained_on, halving=halving)
        sweep, ids = store.add_sweep(settings, asked.name or name, halving=halving)
        say(f"Sweep {sweep}: {counted(len(ids), 'run')} in {store.home}")
    say(f"Test rows: {'; '.join(dict.fromkeys(one.test_rows_in_words for one in settings))}")
    return _follow_to_the_board(store, sweep, ids, asked, partial(say_what_may_leak, store, dataset, first))


def _say_weights(settings: list[RunSettings]) -> None:
    """Finds the weights, and prints what there is to know of their licence and learning rates."""
    first, card = settings[0], get_card(settings[0].model)
    if any(one.strategy not in REFERENCES for one in settings):  # a download shows its progress here, not in a log
        _, source = find_checkpoint(card, first.task, first.checkpoint)
        if source.licence.commercial is False:
            say(f"Licence of {source.file}: {source.licence}")
    usual = (one.strategy for one in settings if one != with_usual_rate(one) and one.checkpoint is None)
    for strategy in dict.fromkeys(usual):
        say(f"Learning rate of {STRATEGY_NAMES[strategy]}: {card.told_rate(first.task, strategy)}")


def _follow_to_the_board(
    store: RunStore,
    sweep: str,
    ids: Sequence[str],
    asked: argparse.Namespace,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Follows a sweep to its end and shows the leaderboard; Ctrl-C cancels the runs in ``ids``.

    ``meanwhile`` is called while the worker loads what runs need.
    """
    runs, cancelled = _follow_or_cancel(store, sweep, ids, meanwhile)
    status = 130
    try:
        if asked.adapters:
            _copy_adapters(store, runs, asked.adapters)
    finally:  # also if the disk is full
        if not cancelled or any(run.status in RANKED for run in runs):
            status = show_board(store, runs, asked.format)
    if not cancelled:
        return status
    again = ["loralab", "resume", sweep, "--home", str(store.home)]
    again += ["--adapters", str(asked.adapters)] if asked.adapters else []
    say(f"To start the cancelled runs again: {shlex.join(again)}")
    return 130


def _follow_or_cancel(
    store: RunStore, sweep: str, ids: Sequence[str], meanwhile: Callable[[], None]
) -> tuple[list[Run], bool]:
    """Returns the ended runs of a sweep, and whether Ctrl-C cancelled those in ``ids``, if there are any."""
    try:
        ensure_worker(store.home, exit_when_idle=True)
        meanwhile()
        runs = follow(store, sweep)
        if search := store.search(sweep):
            say(f"The search has ended. {summarize(store, search).text}")
        return runs, False
    except KeyboardInterrupt:
        if not ids and not store.searching(sweep):
            raise
        held = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave the rest queued
        if store.searching(sweep):
            store.ask_all(sweep, "cancel")
        for run_id in ids:
            store.ask(run_id, "cancel")
        signal.signal(signal.SIGINT, held)
        cancelled = "Cancelled the queued runs, and asked the running ones to end. Their logs stay"
        say(f"\n{cancelled}; press Ctrl-C again to leave at once.")
        return follow(store, sweep), True


def resume_runs(asked: argparse.Namespace) -> int:
    """Resumes the interrupted runs of a sweep, starts cancelled ones again, verifies adapters if that was killed."""
    from tabtune_core.execution.jobs.export import verify

    store = RunStore(asked.home)
    _make_folder(asked.adapters)
    runs = runs_of_sweep(store, asked.sweep)
    store.resume_search(runs[0].sweep)
    # without a worker they are left, as after a restart of the machine
    left = ("queued", "running", "waiting") if worker_of(store.home) is None else ()
    unverified = [run for run in runs if _is_unverified(run)]
    fit = [run for run in runs if run.status in ("interrupted", "cancelled", *left) and run.retried_as is None]
    fit = [run for run in fit if run not in unverified]
    if not (fit or unverified or asked.adapters or store.searching(runs[0].sweep)):
        going = sum(run.status not in ENDED for run in runs)
        way_out = f"Not ended yet: {counted(going, 'run')}; see 'loralab runs'." if going else "Name another sweep."
        raise StoreError(f"No run of this sweep was interrupted or cancelled, so there is nothing to resume. {way_out}")
    followed = []
    for run in fit:
        how, run_id = _resume(store, run)
        followed.append(run_id)
        say(f"{run.name}: {how}")
    for run in unverified:
        say(f"{run.name}: {verify(store.home, store.run_dir(run.id), run=run.id)['sentence']}")
    return _follow_to_the_board(store, runs[0].sweep, followed, asked)


def _is_unverified(run: Run) -> bool:
    """Whether a run has ended with an adapter whose verification was killed."""
    return run.result is not None and run.result.adapter_bytes is not None and run.result.adapter_verified is None


def _resume(store: RunStore, run: Run) -> tuple[str, str]:
    """Returns what becomes of a run, in words, and the id of the run to follow."""
    if run.status in ("queued", "running", "waiting"):
        return f"was {run.status} without a worker; a new one takes it over", run.id
    anew = "starts anew; it had saved no state"
    if run.status == "cancelled":
        return anew, store.retry(run.id)
    how = "goes on from its last state" if store.has_last_state(run.id) else anew
    store.resume(run.id)
    return how, run.id


def _make_folder(folder: Path | None) -> None:
    """Creates the folder that adapters will be copied to; raises an OSError, which names it, if it cannot be used."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass


def _copy_adapters(store: RunStore, runs: Sequence[Run], folder: Path) -> None:
    for run, name in zip(runs, numbered([_file_name(run) for run in runs]), strict=True):
        if run.result is None or run.result.adapter_bytes is None:
            continue
        if not run.result.adapter_verified:
            again = f"could not be loaded again, so it is not copied. Try once more with: loralab resume {run.sweep}"
            differs = "gave other predictions when it was loaded again, so it is not copied."
            say(f"{run.name}: its adapter {again if _is_unverified(run) else differs}")
            continue
        package = store.run_dir(run.id) / ADAPTER_FILE
        target, content = folder / f"{name}.zip", package.read_bytes()
        if target.exists() and target.read_bytes() != content:
            free = (folder / f"{name} (earlier {number}).zip" for number in itertools.count(1))
            earlier = next(file for file in free if not file.exists())
            target.rename(earlier)
            say(f"{target} already existed, from another run; it was renamed to {earlier}.")
        with in_one_move(target) as made:
            made.write_bytes(content)
        say(f"{run.name}: {target}")


def _file_name(run: Run) -> str:
    """Returns for example ``lora-r8-dropout-0.1-seed0``, short enough for a file name with a number added."""
    label = run.name.removesuffix(f" seed {run.settings.seed}").lower().replace("=", "")
    return f"{re.sub('[^a-z0-9.+-]+', '-', label)[:LONGEST_LABEL].strip('-')}-seed{run.settings.seed}"
