"""A sweep as one page to mail: what it found, its curves and board, what the table is like, and how to run it again.

In: the store and the id of a sweep. Out: HTML that opens without a network and contains no cell of the table.
"""

import ast
import re
import shlex
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from html import escape

import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.curves import frame_of
from tabtune_core.analysis.html_report import page
from tabtune_core.analysis.recommendation import board_and_recommendation
from tabtune_core.charts import CHARTS
from tabtune_core.charts.memory import speaking_meter, without_numbers
from tabtune_core.charts.style import roles, styles_of, with_names
from tabtune_core.data.datasets import Dataset, get_dataset
from tabtune_core.data.findings import not_asked, together
from tabtune_core.errors import SettingError, StoreError, TableError
from tabtune_core.metrics import LOSS_UNITS, METRICS
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import REFERENCES, SweepSettings
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_row import RANKED, Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import few

IDS = ["sweep", "dataset"]
QUOTED = re.compile(r"""(?<!\w)(['"])(?:\\.|(?!\1).)*\1(?!\w)""")


def sweep_page(store: RunStore, sweep: str, rank_by: str | None = None) -> str:
    """Returns the page of a sweep, ranked by ``rank_by``, a metric of its task; by default the selection metric.

    Raises:
        StoreError: there is no such sweep, or no run of it can be read.
    """
    runs = store.runs(sweep)
    if not runs:
        raise StoreError(
            f"No run of the sweep {sweep!r} can be read. Open the workspace with the version that wrote it."
        )
    settings, named = runs[0].settings, store.sweep(sweep)
    metric = rank_by or settings.selection_metric
    board, found = board_and_recommendation(store, runs, metric, partial(read_predictions, store))
    note = board["note"].where(board["status"].isin(RANKED), board["status"])  # an error may quote cells
    note = note.mask(board["archived"], ("archived, " + note).str.removesuffix(", "))
    board = board.assign(note=note).drop(columns=IDS)
    names = [run.name for run in runs]
    labels = {run.id: run.name if names.count(run.name) == 1 else f"{run.name} ({run.id})" for run in runs}
    named_in = partial(with_names, names=labels, styles=styles_of(roles([run.settings for run in runs])))
    dataset = _dataset(store, settings.dataset)
    going = sum(run.ended is None for run in runs)
    lead = [f"{going} of {len(runs)} runs have not ended." if going else "", *found.sentences, found.basis]
    table = dataset.name if dataset else "a table that is not in the workspace any more"
    models = ", ".join(
        dict.fromkeys(get_card(run.settings.model).title for run in runs if run.settings.strategy not in REFERENCES)
    )
    about = f"{table}, target {settings.target}; {models}; {time.strftime('%d %b %Y', time.localtime(named.created))}."
    return page(
        named_in(board),
        metric,
        title=named.name or f"Sweep {sweep}",
        lead=[about, *filter(None, lead)],
        figures=_figures(
            metric, *(named_in(frame_of(store, list(labels), kind)) for kind in ("scores", "steps", "memory"))
        ),
        parts={"The table": _table(dataset, runs), "Run it again": _again(runs, named.name, dataset)},
    )


def _figures(metric: str, scores: pd.DataFrame, steps: pd.DataFrame, memory: pd.DataFrame) -> dict[str, go.Figure]:
    meter = speaking_meter(memory)
    absent = few(without_numbers(memory, meter))
    return {
        f"Validation {METRICS[metric].written}": CHARTS["score"].draw(scores, metric=metric),
        "Training loss": CHARTS["loss"].draw(steps, unit=LOSS_UNITS[METRICS[metric].task]),
        "Memory" + (f" (this meter has no numbers of {absent})" if absent else ""): CHARTS["memory"].draw(
            memory, meter=meter
        ),
        "Time per step": CHARTS["seconds"].draw(steps),
    }


def _dataset(store: RunStore, identity: str) -> Dataset | None:
    with suppress(TableError):
        return get_dataset(store.home, identity)
    return None


def _table(dataset: Dataset | None, runs: Sequence[Run]) -> str:
    """Describes the table: its size, and the findings from reading it."""
    if dataset is None:
        return "<p>It is not in the workspace any more.</p>"
    names = {column.name for column in dataset.columns}
    said = [_without_cells(one.message, names) for one in together(not_asked(dataset.findings, dataset.questions))]
    said += [_without_cells(question.message, names) for question in dataset.questions]
    rows = dict.fromkeys(
        text for run in runs for text in (run.settings.split, f"test rows: {run.settings.test_rows_in_words}") if text
    )
    size = f"{dataset.name}: {dataset.rows:,} rows, {len(dataset.columns):,} columns; {'; '.join(rows)}."
    return f"<p>{escape(size)}</p><ul>{''.join(f'<li>{escape(text)}</li>' for text in said)}</ul>"


def _without_cells(message: str, columns: Collection[str]) -> str:
    r"""Replaces each quoted text that is not a column name by ….

    >>> _without_cells("'price' holds the table's '12 km' and \"it's\" beside 'size'.", {"price", "size"})
    "'price' holds the table's … and … beside 'size'."
    """
    return QUOTED.sub(lambda found: found[0] if _literal(found[0]) in columns else "…", message)


def _literal(text: str) -> object:
    with suppress(ValueError, SyntaxError):
        return ast.literal_eval(text)
    return None


def _again(runs: Sequence[Run], name: str, dataset: Dataset | None) -> str:
    """Returns the command and the settings that repeat the sweep."""
    data = dataset.name if dataset else "DATA"
    command = shlex.join(["loralab", "sweep", data, "--settings", "sweep.toml", *([f"--name={name}"] if name else [])])
    try:
        settings = SweepSettings.of([run.settings for run in runs])
    except SettingError as error:
        return f"<p>{escape(str(error))}</p>"
    saved = "Save these settings as <code>sweep.toml</code>, and run:"
    return f"<p>{saved}</p><pre>{escape(command)}</pre><pre>{escape(settings.to_toml())}</pre>"
