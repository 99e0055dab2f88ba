"""``predict``, ``serve``, ``merge`` and ``hub push``: what is done with a finished adapter."""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tabtune_core.access import decide
from tabtune_core.cli.request import file_of
from tabtune_core.cli.terminal import say
from tabtune_core.errors import AdapterError, MissingPackageError, SettingError, TableError
from tabtune_core.lora.hub import FILE, card_of, push
from tabtune_core.lora.package_reader import readme, without_labels
from tabtune_core.scratch import scratch_folder
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.runs import RunStore

if TYPE_CHECKING:
    import pandas as pd

    from tabtune_core.engine.adapted_model import AdaptedModel


def print_predictions(asked: argparse.Namespace) -> int:
    """Prints predictions with an adapter as CSV."""
    from tabtune_core.data.prediction_rows import read_new_rows
    from tabtune_core.data.spreadsheet import safe_csv
    from tabtune_core.data.table import LIMIT_BYTES
    from tabtune_core.engine.adapted_model import load_adapter

    with scratch_folder() as folder:
        source = file_of(asked.data, asked.home, folder)
        model = load_adapter(_package(asked), checkpoint=asked.checkpoint, device=asked.device)
        context = model.context(_table_of(model, asked))
        rows = read_new_rows(source, model.facts.read_as, limit_bytes=LIMIT_BYTES)
    for note in (*rows.notes, *context.encoder.unread(rows.frame)):
        say(note)
    predicted = model.predict_table(rows.frame, context=context)
    print(safe_csv(predicted), end="")
    return 0


def _package(asked: argparse.Namespace) -> Path:
    """Returns the file of an adapter, which may be named by the id of its run if a fresh process has verified it."""
    named = str(asked.adapter)
    if os.path.exists(named) or not (asked.home / "runs" / named).is_dir():
        return Path(named)
    store = RunStore(asked.home)
    run = store.run(named)
    if run.result is None or not run.result.adapter_verified:
        none = f"The run {run.id} has no adapter that a fresh process has verified"
        raise AdapterError(f"{none}. Choose a finished run of LoRA.")
    return store.run_dir(run.id) / ADAPTER_FILE


def _table_of(model: "AdaptedModel", asked: argparse.Namespace) -> "pd.DataFrame":
    """Returns the table that an adapter was trained on: from ``--context``, or from the workspace."""
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.table import read_table

    try:
        if not asked.context:
            return load_frame(asked.home, model.settings.dataset)
        with scratch_folder() as folder:
            return read_table(file_of(asked.context, asked.home, folder), model.reading).frame
    except TableError as error:
        if asked.context:
            raise
        other = f"Or name the table that the adapter was trained on, {model.facts.table_name!r}, with --context FILE."
        raise TableError(f"{error} {other}") from error


def serve_adapters(asked: argparse.Namespace) -> int:
    """Answers requests for predictions until Ctrl-C."""
    from tabtune_core.serving.adapters import open_adapters

    try:
        from tabtune_core.serving.application import Limits, application, serve
    except ImportError as error:
        needs = "Serving needs FastAPI and uvicorn. Run: pip install 'tabtune-dashboard[serve]'"
        raise MissingPackageError(needs) from error
    access = decide(asked.address, asked.allow_host)
    how = {"checkpoint": asked.checkpoint, "device": asked.device, "merged": asked.merge}
    served = open_adapters(asked.adapters, partial(_table_of, asked=asked), **how)
    for one in served.values():
        predicts = f"predicts {one.about['target']!r} with {one.about['model']}"
        say(f"{one.name}: {predicts}; licence of the weights: {one.about['licence']}")
    serve(application(served, access, Limits()), access, asked.port, say)
    return 0


def write_merged(asked: argparse.Namespace) -> int:
    """Writes a checkpoint with an adapter in its weights."""
    from tabtune_core.engine.adapted_model import load_adapter

    package = _package(asked)
    inputs = (package, *((asked.checkpoint, asked.checkpoint.parent) if asked.checkpoint else ()))
    if asked.out.resolve() in [source.resolve() for source in inputs]:  # weights of several files are in a folder
        lost = f"{str(asked.out)!r} is one of the files to merge, or their folder, and would be overwritten"
        raise SettingError(f"{lost}. Name another.")
    load_adapter(package, checkpoint=asked.checkpoint, device=asked.device).save_merged(asked.out)
    say(f"Merged into {asked.out}")
    return 0


def push_adapter(asked: argparse.Namespace) -> int:
    """Pushes an adapter with its model card to the Hugging Face Hub, and prints its address."""
    from tabtune_core.store.uploaded_adapters import check_package

    path = _package(asked)
    with scratch_folder() as folder:
        content = path.read_bytes() if asked.with_labels else without_labels(path)
        (folder / FILE).write_bytes(content)
        facts = check_package(folder / FILE)
    if facts.classes and not asked.with_labels:
        say("The class labels, which are values of the table, are left out; --with-labels names them.")
    print(push(content, card_of(facts, readme(facts), asked.repository), asked.repository, public=asked.public))
    return 0
