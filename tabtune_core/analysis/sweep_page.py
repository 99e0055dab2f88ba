"""A sweep as one page to mail: what it found, what a better score costs, its curves and board, how to run it again.

In: the store and the id of a sweep. Out: HTML that opens without a network and contains no cell of the table.
"""

import shlex
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from html import escape
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.comparison import at_one_rate
from tabtune_core.analysis.curves import frame_of
from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.analysis.races import picture_rows
from tabtune_core.analysis.recommendation import Recommendation, board_and_recommendation
from tabtune_core.analysis.runs_table import costs_note, elsewhere
from tabtune_core.charts import CHARTS
from tabtune_core.charts.style import CONFIG, roles, styles_of, with_names
from tabtune_core.data.datasets import Dataset, get_dataset
from tabtune_core.errors import SettingError, StoreError, TableError
from tabtune_core.metrics import LOSS_UNITS, METRICS
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import REFERENCES, SweepSettings
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_row import RANKED, Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import decimal, number

IDS = ["sweep", "dataset"]
COSTS = {"Score and memory": "run_growth_memory_bytes", "Score and time": "train_seconds"}
"""Title of a chart -> the cost that it draws the score against."""
_ALONE = (
    """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; """
    """style-src 'unsafe-inline'; img-src data: blob:">"""
)
"""The page never makes a network request, whatever text it holds."""
_UNITS = {"growth_memory_bytes": ("Memory of training (MB)", 1e6), "adapter_bytes": ("Adapter (kB)", 1e3)}
_SHORT = {
    "gain": "Gain on validation",
    half_width("gain"): "± on validation",
    "test_gain": "Gain on test",
    half_width("test_gain"): "± on test",
    "train_seconds": "Training (s)",
    "trainable_percent": "Trainable (%)",
    "note": "Note",
}


def sweep_page(store: RunStore, sweep: str, rank_by: str | None = None) -> str:
    """Returns the page of a sweep, ranked by ``rank_by``, a metric of its task; by default the selection metric.

    Raises:
        StoreError: there is no such sweep, or no run of it can be read.
    """
    runs, metric, board, answer = _results(store, sweep, rank_by)
    settings, named = runs[0].settings, store.sweep(sweep)
    picture = _picture(store, runs, metric, board, answer, "svg")
    kept = board["status"].isin((*RANKED, "outrun"))
    note = board["note"].where(kept, board["status"])  # an error may quote cells
    note = note.mask(board["archived"], ("archived, " + note).str.removesuffix(", "))
    away, costs = set(board.loc[elsewhere(board), "run"]), costs_note(board)
    board = board.assign(note=note).drop(columns=IDS)
    names = [run.name for run in runs]
    labels = {run.id: run.name if names.count(run.name) == 1 else f"{run.name} ({run.id})" for run in runs}
    styles = styles_of(roles([run.settings for run in runs]), [run.status == "outrun" for run in runs])
    named_in = partial(with_names, names=labels, styles=styles)
    dataset: Dataset | None = None
    with suppress(TableError):
        dataset = get_dataset(store.home, settings.dataset)
    going = sum(run.ended is None for run in runs)
    lead = [f"{going} of {len(runs)} runs have not ended." if going else "", *answer.sentences, answer.basis, costs]
    of_device = [run.id for run in runs if run.id not in away]
    drawn = {"scores": list(labels), "steps": list(labels), "seconds": of_device, "memory": of_device}
    scores, steps, timed, memory = (
        named_in(frame_of(store, ids, kind.replace("seconds", "steps"))) for kind, ids in drawn.items()
    )
    figures = {
        f"Validation {METRICS[metric].written}": CHARTS["score"].draw(scores, metric=metric),
        "Training loss": CHARTS["loss"].draw(steps, unit=LOSS_UNITS[settings.task]),
        "Memory": CHARTS["memory"].draw(memory),
        "Time per step": CHARTS["seconds"].draw(timed),
    }
    parts = {"The table": _table(dataset, runs), "Run it again": _again(runs, named.name, dataset)} if dataset else {}
    lead = [f"{_about(store, runs)}.", *filter(None, lead)]
    title = named.name or f"Sweep {sweep}"
    return page(named_in(board), metric, title=title, lead=lead, picture=picture, figures=figures, parts=parts)


def sweep_picture(store: RunStore, sweep: str, kind: str, rank_by: str | None = None) -> bytes:
    """Returns the score against rank of a sweep, its verdict, table and date, as a file to share: ``svg`` or ``png``.

    Raises:
        StoreError: there is no such sweep, or no run of it can be read.
    """
    return _picture(store, *_results(store, sweep, rank_by), kind)


def _results(store: RunStore, sweep: str, rank_by: str | None) -> tuple[list[Run], str, pd.DataFrame, Recommendation]:
    """Returns runs, metric, leaderboard and recommendation of a sweep."""
    runs = store.runs(sweep)
    if not runs:
        raise StoreError(f"No run of the sweep {sweep!r} can be read.")
    metric = rank_by or runs[0].settings.selection_metric
    return runs, metric, *board_and_recommendation(store, runs, metric, partial(read_predictions, store))


def _picture(
    store: RunStore, runs: Sequence[Run], metric: str, board: pd.DataFrame, answer: Recommendation, kind: str
) -> bytes:
    from tabtune_core.charts.picture import picture  # matplotlib takes half a second

    going = sum(run.ended is None for run in runs)
    verdict = answer.verdict.headline if answer.verdict else f"{METRICS[metric].label} against rank"
    title = f"{going} of {len(runs)} runs have not ended" if going else verdict
    shown = picture_rows(store, board, metric)
    return picture(shown, metric, kind, title=title, text=answer.in_short, about=f"{_about(store, runs)}; LoRA Lab")


def _about(store: RunStore, runs: Sequence[Run]) -> str:
    """Names table, target, models and date of a sweep."""
    settings, table = runs[0].settings, "A table that is not in the workspace"
    with suppress(TableError):
        table = f"{get_dataset(store.home, settings.dataset).name}, target {settings.target}"
    cards = (get_card(run.settings.model).title for run in runs if run.settings.strategy not in REFERENCES)
    date = time.strftime("%d %b %Y", time.localtime(store.sweep(runs[0].sweep).created))
    return f"{table}; {', '.join(dict.fromkeys(cards))}; {date}"


def page(
    board: pd.DataFrame,
    rank_by: str,
    *,
    title: str,
    lead: Sequence[str],
    picture: bytes,
    figures: Mapping[str, go.Figure],
    parts: Mapping[str, str],
) -> str:
    """Returns the HTML of a board; texts and names of entries are escaped.

    ``lead`` comes first, then the SVG ``picture``; ``figures`` follow those of the costs, and ``parts`` (HTML) the
    board, each under its heading.
    """
    from plotly.offline import get_plotlyjs

    ranked = board[board["place"].notna()]  # without archived runs
    once = at_one_rate(board[board["strategy"] == "peft"])
    costs = {f"{name}{once}": CHARTS["pareto"].draw(ranked, x=cost, metric=rank_by) for name, cost in COSTS.items()}
    shown = f'<img alt="Score against rank" src="data:image/svg+xml;base64,{b64encode(picture).decode()}">'
    first_picture = _section(f"{METRICS[rank_by].label} against rank{once}", shown)
    drawn = "".join(_section(name, _drawn(figure), "chart") for name, figure in {**costs, **figures}.items())
    first = "".join(f"<p>{escape(text)}</p>" for text in lead)
    style, script = (
        Path(__file__).with_name(f"sweep_page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_ALONE}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><h1>{escape(title)}</h1>{first_picture}<div class=lead>{first}</div>"
        f"<div class=charts>{drawn}</div>{_section('Leaderboard', _tables(board, rank_by))}"
        f"{''.join(_section(name, part) for name, part in parts.items())}"
        f"<script>{script}</script></body></html>"
    )


def _table(dataset: Dataset, runs: Sequence[Run]) -> str:
    """Says how large the table is and how its rows were split."""
    split = {text: None for run in runs for text in (run.settings.split, run.settings.test_rows_in_words) if text}
    size = f"{dataset.name}: {dataset.rows:,} rows, {len(dataset.columns):,} columns; {'; '.join(split)}."
    return f"<p>{escape(size)}</p>"


def _again(runs: Sequence[Run], name: str, dataset: Dataset) -> str:
    """Returns the command and the settings that repeat the sweep."""
    named = [f"--name={name}"] if name else []
    command = shlex.join(["loralab", "sweep", dataset.name, "--settings", "sweep.toml", *named])
    try:
        settings = SweepSettings.of([run.settings for run in runs])
    except SettingError as error:
        return f"<p>{escape(str(error))}</p>"
    saved = "Save these settings as <code>sweep.toml</code>, and run:"
    return f"<p>{saved}</p><pre>{escape(command)}</pre><pre>{escape(settings.to_toml())}</pre>"


def _tables(board: pd.DataFrame, rank_by: str) -> str:
    """Returns the main columns with their units, and every column in a section that opens on click."""
    scores = {f"validation_{rank_by}": "Validation", f"test_{rank_by}": "Test"}
    names = {"place": "Place", "name": "Name", **scores, **_SHORT}
    short = board[[name for name in names if name in board]].rename(columns=names)
    for place, (name, (label, size)) in enumerate(_UNITS.items()):
        short.insert(len(short.columns) - 2 + place, label, board[name].astype("Float64").astype("float64") / size)
    metric, parts = METRICS[rank_by], [name for name in scores.values() if name in short]
    places = metric.decimals(short[parts].astype("float64").to_numpy().ravel())
    for part in parts:
        short[part] = [None if pd.isna(score) else decimal(score, places) for score in short[part]]
    ranked = f"{metric.label}: validation ranks, test is only reported. {PLUS_MINUS}."
    rest = f"<details><summary>Every column</summary>{_html(board.drop(columns='run', errors='ignore'))}</details>"
    return f"<p>{escape(ranked)}</p>{_html(short)}{rest}"


def _html(frame: pd.DataFrame) -> str:
    """Returns a frame as a table that scrolls if it is wider than the page."""
    plain = frame.astype(object).mask(frame.isna(), float("nan"))  # pandas writes None and <NA> whatever na_rep says
    made = plain.to_html(index=False, na_rep="", border=0, float_format=partial(number, digits=4))
    return f"<div class=wide tabindex=0>{made}</div>"


def _section(name: str, inner: str, kind: str = "") -> str:
    return f'<section class="{kind}"><h2>{escape(name)}</h2>{inner}</section>'


def _drawn(figure: go.Figure) -> str:
    figure.update_layout(template="none")
    return str(figure.to_html(config=CONFIG | {"responsive": True}, full_html=False, include_plotlyjs=False))
