"""The second tab of Compare: what rank buys in the chosen score and in another one, over runs that trained at each rank."""

import streamlit as st

from dashboard import queries
from dashboard.components.plotly_chart import show
from dashboard.formatting import plain
from dashboard.views.compare.compared import Compared
from dashboard.views.compare.one_run_rank import one_run_rank
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.recommendation import Recommendation, smallest_tied, with_noise
from tabtune_core.charts import CHARTS
from tabtune_core.metrics import METRICS, Task

BESIDE: dict[Task, tuple[str, str]] = {"classification": ("ece", "log_loss"), "regression": ("r2", "rmse")}
"""What stands beside the chosen score: calibration for classes; the second where the first was chosen."""


def rank_tab(compared: Compared) -> None:
    """Draws the tab."""
    if not any(run.settings.strategy == "peft" for run in compared.done):
        st.info("No LoRA run of this sweep has a result yet.", icon=":material/hourglass_top:")
        return
    beside = next(name for name in BESIDE[compared.task] if name != compared.metric)
    left, right = st.columns(2)
    with left:
        recommendation = _curve(compared, compared.metric)
    with right:
        _curve(compared, beside)
    _what_bars_are(compared, recommendation)
    st.divider()
    one_run_rank(compared)


def _curve(compared: Compared, metric: str) -> Recommendation:
    meaning = METRICS[metric]
    recommendation = queries.recommended(compared.sweep, metric)
    board = with_noise(compared.board.assign(run=compared.board["id"]), recommendation.configurations).assign(run=compared.board["run"])
    smallest = smallest_tied(recommendation.configurations)
    star = None if smallest is None or recommendation.claim is None or not recommendation.claim.chooses_a_rank else int(smallest["rank"])
    st.header(f"{meaning.label} against rank", help=f"{meaning.help} {CHARTS['rank_curve'].help}")
    used = ["run", "strategy", "rank", "seed", f"validation_{metric}", f"test_{metric}", half_width("lora_gap")]
    drawn = CHARTS["rank_curve"].draw(board, metric=metric, smallest=star)
    show(drawn, key=f"rank_{metric}", label=f"{meaning.label} against rank", numbers=board[used])
    better = "Higher" if meaning.higher_is_better else "Lower"
    st.caption(f"{better} is better." + ("" if star is None else f" r* = {star}, the smallest rank within one standard error of the best."))
    return recommendation


def _what_bars_are(compared: Compared, recommendation: Recommendation) -> None:
    """What the sweep says, and what its errors rest on."""
    if recommendation.sentences and not queries.active(compared.runs):
        with st.container(border=True):
            st.markdown("\n\n".join(map(plain, recommendation.sentences)))
            st.caption(plain(recommendation.basis))
    elif compared.task == "regression":
        st.caption("The noise of a difference is not known here; run several seeds.")
    else:
        st.caption(
            "Differences below about one over the square root of the number of validation rows are noise; repeat with several seeds."
        )
    if recommendation.configurations[half_width("lora_gap")].notna().any():
        st.caption(
            "Bars at a rank: half the width of the 95 % interval of its difference to the best rank on the validation rows. A bar that"
            " reaches the level of the best is not beyond noise."
        )
