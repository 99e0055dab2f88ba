"""The first tab of Compare: the score against rank, and one run's update truncated and layer by layer."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components.answer_card import why
from dashboard.components.plotly_chart import show
from dashboard.formatting import plain
from dashboard.views.compare.compared import NO_LORA, Compared
from dashboard.views.compare.job_of_one_run import job_of_one_run
from tabtune_core.analysis.comparison import at_one_rate, smallest_tied
from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.analysis.races import with_scores_so_far
from tabtune_core.analysis.recommendation import Recommendation, with_noise
from tabtune_core.charts import CHARTS
from tabtune_core.metrics import METRICS
from tabtune_core.settings import REFERENCES
from tabtune_core.store.run_row import Run
from tabtune_core.wording import few

BARS = (
    "Bars at a rank are the ± of its difference from the best rank on the validation rows: where one reaches the level "
    "of the best, the difference may be noise."
)
STAR = "Dashed: r*, the smallest rank within one standard error of the best."


def rank_tab(compared: Compared) -> None:
    """Draws the tab."""
    if not compared.lora:
        st.info(NO_LORA, icon=":material/hourglass_top:")
        return
    _curve(compared)
    st.divider()
    one_run_rank(compared)


def _curve(compared: Compared) -> None:
    """Draws the score against rank, and below it the verdict."""
    metric, meaning = compared.metric, METRICS[compared.metric]
    recommendation = queries.recommended(compared.sweep, metric)
    drawn_runs = _compared_runs(compared.board, recommendation)
    by_id = with_scores_so_far(queries.store(), drawn_runs.assign(run=drawn_runs["id"]), metric)
    board = with_noise(by_id, recommendation.configurations).assign(run=drawn_runs["run"])
    smallest = smallest_tied(recommendation.configurations)
    chooses = recommendation.claim is not None and recommendation.claim.chooses_a_rank
    star = None if smallest is None or not chooses else int(smallest["rank"])
    once = at_one_rate(board[board["strategy"] == "peft"])
    rules = f"{meaning.help} {CHARTS['rank_curve'].help} {STAR}"
    st.header(f"{meaning.label} against rank{once}", help=rules)
    used = ["run", "strategy", "rank", "seed", f"validation_{metric}", f"test_{metric}", half_width("lora_gap")]
    numbers = board.loc[board["status"] != "outrun", used]
    label = f"{meaning.label} against rank"
    show("rank_curve", board, key=f"rank_{metric}", label=label, numbers=numbers, metric=metric, smallest=star)
    with st.container(horizontal=True, vertical_alignment="center"):
        if recommendation.sentences and not queries.active(compared.runs):
            headline = recommendation.verdict.headline if recommendation.verdict else recommendation.sentences[0]
            st.markdown(f"**{plain(headline)}**", width="content")
            why(recommendation, PLUS_MINUS, BARS)
        else:
            st.caption("Small differences may be noise; run several seeds.", width="content")
        known = compared.board[f"validation_{metric}"].notna()
        left_out = compared.board[~compared.board["id"].isin(board["id"]) & known]
        if len(left_out):
            named = plain(few([str(name) for name in left_out["run"]], MOST_NAMED))
            st.caption(f"Not compared: {named}", help="Other seeds, steps or rows, or stopped before the end.")


def _compared_runs(board: pd.DataFrame, recommendation: Recommendation) -> pd.DataFrame:
    """Returns the compared runs and the references with their seeds; all runs if none are compared."""
    known = board["id"].isin(recommendation.configurations["runs"].explode())
    seeds = board["seed"].isin(board.loc[known, "seed"])
    beside = seeds & ((board["strategy"].isin(REFERENCES) & (board["apart"] == "")) | (board["status"] == "outrun"))
    return board[known | beside] if known.any() else board


MOST_NAMED = 6
KIND = "rank_curve"


def one_run_rank(compared: Compared) -> None:
    """Draws which rank one run really used."""
    means = "If the score stays the same, the full rank was not needed. Biases and DoRA's row lengths are kept."
    st.header("Truncate the rank of one run", help=f"{CHARTS['truncation'].help} {means}")
    highest_first = sorted(compared.lora, key=lambda run: -run.settings.lora.rank)
    doing, icon = "Truncating and scoring the update", ":material/content_cut:"
    if answer := job_of_one_run(compared, highest_first, KIND, doing, icon=icon, seconds=lambda _: 0.0):
        _found(compared, *answer)


def _found(compared: Compared, run: Run, result: dict[str, Any]) -> None:
    columns = {"rank": result["ranks"]}
    for split in ("validation", "test"):
        for name in result.get(split, [{}])[0]:
            columns[f"{split}_{name}"] = [scores[name] for scores in result[split]]
    curve = pd.DataFrame(columns)
    st.markdown(in_words(curve, result["needed"], compared.metric))
    board = compared.board
    same = (board["strategy"] == "peft") & (board["seed"] == run.settings.seed) & (board["model"] == run.settings.model)
    trained = board[same].dropna(subset=[f"validation_{compared.metric}"])
    show("truncation", curve, metric=compared.metric, trained=trained)


def in_words(curve: pd.DataFrame, needed: list[int], metric: str) -> str:
    """Says in how few directions most of the update lies, and whether it helps at all."""
    if not needed:
        return "This run kept the pretrained weights: its update is zero, so there is nothing to truncate."
    spread = f" ({min(needed)} to {max(needed)})" * (min(needed) < max(needed))
    lies = f"**90 % of the update lies in rank {np.median(needed):g}**{spread}, median of {len(needed)} layers."
    scores = curve.set_index("rank")[f"validation_{metric}"]
    if scores.isna().all() or METRICS[metric].ahead(scores, scores[0])[scores.index.max()] > 0:
        return lies
    return f"{lies} On {METRICS[metric].written} the whole update is not better than zero-shot."
