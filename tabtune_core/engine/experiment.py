"""One run from the table to the adapter; the only module that joins all parts.

In: the settings of a run and the workspace. Out: events meanwhile; the adapter and the predictions in its folder.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tabtune_core.data.datasets import Dataset, get_dataset, load_frame
from tabtune_core.data.task import features_of, prepare
from tabtune_core.data.units import units_of
from tabtune_core.devices import name_of, resolve_device
from tabtune_core.engine.artifacts import hash_rows, write_adapter, write_predictions
from tabtune_core.engine.preforked_process import FreshProcess
from tabtune_core.engine.references import run_reference
from tabtune_core.engine.verify import verify_in_fresh_process
from tabtune_core.events import Event, Note, RunFinished, StopRequest
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.store.run_folder import ADAPTER_FILE, LAST_STATE, PREDICTIONS_FILE, STATES
from tabtune_core.training.fit import Fitted, fit
from tabtune_core.training.memory.meters import MemoryMeter, open_nvml
from tabtune_core.training.session import Environment, Plan

SHARED = "shared"
"""Name of the workspace folder with the cache that its runs share."""


def run_experiment(
    settings: RunSettings,
    *,
    home: Path,
    run_dir: Path,
    emit: Callable[[Event], None],
    stop_request: Callable[[], StopRequest | None],
    given: str | None = None,
    fresh: FreshProcess | None = None,
    rungs: tuple[float, ...] = (),
    paused: bool = False,
) -> RunFinished:
    """Carries out a run and returns its result; ``emit`` is called from two threads.

    The adapter package is verified in ``fresh``, or in a new interpreter. A run resumes from the last state in its
    folder; ``paused`` says that it is that of a rung, a share of the steps where training pauses.

    Raises:
        Cancelled: a person asked for the end without a result.
        Waiting: training pauses at a rung.
        TabTuneError: what was asked cannot be done; the text says why and what to do.
    """
    if settings.strategy in REFERENCES:
        return run_reference(settings, home=home, run_dir=run_dir, emit=emit, stop_request=stop_request)
    device = resolve_device(given or settings.device)
    dataset = get_dataset(home, settings.dataset)
    plan = Plan.of(settings, features=features_of(dataset.columns, settings), device=device)
    with MemoryMeter(device, emit, nvml=open_nvml(device)) as meter:
        environment = Environment(
            meter=meter,
            folder=run_dir / STATES,
            emit=emit,
            stop_request=stop_request,
            shared=home / SHARED,
            last_state=run_dir / STATES / LAST_STATE,
            rungs=rungs,
            paused=paused,
        )
        limit = plan.card.family.class_limit
        load = partial(load_frame, home, dataset.id)
        fitted = fit(plan, lambda: prepare(load(), dataset.columns, plan.shown, max_classes=limit), environment)
        with meter.phase("save"):
            result = _write_files(run_dir, dataset, plan, fitted)
            if result.adapter_bytes is not None:
                verified, sentence = verify_in_fresh_process(
                    run_dir, home=home, device=name_of(device), checkpoint=settings.checkpoint, fresh=fresh
                )
                emit(Note(sentence, "info" if verified else "warning"))
                result = replace(result, adapter_verified=verified)
    return result if result.peak_memory_bytes is None else replace(result, peak_memory_bytes=meter.highest_bytes)


def _write_files(run_dir: Path, dataset: Dataset, plan: Plan, fitted: Fitted) -> RunFinished:
    """Writes predictions, and the adapter package; returns the result with what they hold."""
    result, session = fitted.result, fitted.session
    parts, classes, units = session.rows.held_out, session.plan.classes, units_of(session.table, plan.settings)
    write_predictions(run_dir / PREDICTIONS_FILE, parts, fitted.predictions, classes, units, fitted.zero_shot)
    result = replace(result, rows_sha256=hash_rows(parts, classes))
    if session.report is None:
        return result
    package, scores = run_dir / ADAPTER_FILE, {"validation": result.validation, "test": result.test}
    table, model, report = session.table, session.model, session.report
    write_adapter(package, plan.shown, dataset, table, model, report, scores, result.best_step)
    return replace(result, adapter_bytes=package.stat().st_size)
