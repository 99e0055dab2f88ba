"""The answer of a sweep as a card: what to use, large; under it what it gains and costs.

In: a recommendation with its verdict. Out: the card, with every sentence behind one button.
"""

import math

import streamlit as st

from dashboard.components import figure
from dashboard.formatting import duration, megabytes, plain
from tabtune_core.analysis.against_references import NAMES
from tabtune_core.analysis.recommendation import Recommendation
from tabtune_core.analysis.verdict import Verdict
from tabtune_core.metrics import METRICS
from tabtune_core.wording import decimal


def answer_card(advice: Recommendation) -> None:
    """Draws the card; without a verdict the sentences alone."""
    if advice.verdict is None:
        st.markdown(plain(" ".join(advice.sentences)))
        return
    verdict = advice.verdict
    # whose heading is large
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="answer"):
        st.header(plain(verdict.headline), anchor=False, width="content")
        why(advice)
    st.markdown(plain(advice.in_short))
    with st.container(horizontal=True):
        for label, value, help in figures(verdict):
            figure(label, value, help)


def why(advice: Recommendation, *rules: str) -> None:
    """Draws the button behind which are all sentences, what they rest on, and further ``rules``."""
    with st.popover("Why", icon=":material/info:", type="tertiary", key="why"):
        st.markdown("\n\n".join(map(plain, advice.sentences)))
        st.caption("\n\n".join(map(plain, (advice.basis, *rules))))


def figures(verdict: Verdict) -> list[tuple[str, str, str | None]]:
    """Returns label, text and help of each known number: scores before and after, costs, and the best reference."""
    metric, second, shown = METRICS[verdict.metric], METRICS[verdict.second], list[tuple[str, str, str | None]]()
    of = f"Zero-shot, then LoRA {verdict.lora}, on the {verdict.part} rows."
    percent = verdict.second == "accuracy"
    pairs = [(second.written, verdict.second_before, verdict.second_after, percent)]
    if verdict.metric != verdict.second:
        pairs.append((metric.written, verdict.before, verdict.after, False))
    for name, before, after, share in pairs:
        if not math.isnan(before) and not math.isnan(after):
            ends = [f"{100 * end:.1f}" if share else metric_text(end) for end in (before, after)]
            shown.append((f"{name[0].upper()}{name[1:]}", f"{ends[0]} → {ends[1]}{' %' if share else ''}", of))
    if not math.isnan(verdict.memory_bytes):
        shown.append(("Memory", megabytes(verdict.memory_bytes), "Of training LoRA, above the loaded model."))
    if not math.isnan(verdict.train_seconds):
        shown.append(("Training", duration(verdict.train_seconds), None))
    if not math.isnan(verdict.adapter_bytes):
        shown.append(("Adapter", megabytes(verdict.adapter_bytes), None))
    if verdict.classic is not None and not math.isnan(verdict.classic_validation):
        name = NAMES[verdict.classic].removeprefix("the ")
        ours = metric_text(verdict.ours_validation)
        help = f"{metric.written} on the validation rows; the model has {ours} there."
        shown.append((f"{name[0].upper()}{name[1:]}, {metric.written}", metric_text(verdict.classic_validation), help))
    return shown


def metric_text(value: float) -> str:
    """Writes a score with three decimals, or three digits if it is large.

    >>> metric_text(0.05801), metric_text(33.195)
    ('0.058', '33.2')
    """
    return decimal(value, 3) if abs(value) < 10 else decimal(value, 1)
