"""The answer of a sweep as a card: what to use, large; under it what it gains and costs.

In: a recommendation with its verdict. Out: the card, with every sentence behind one button.
"""

import math
from collections.abc import Callable

import streamlit as st

from dashboard.components import figure
from dashboard.formatting import duration, megabytes, plain
from tabtune_core.analysis.recommendation import Recommendation
from tabtune_core.analysis.verdict import Verdict
from tabtune_core.metrics import METRICS
from tabtune_core.wording import decimal

_COSTS: dict[str, tuple[str, Callable[[float], str], str | None]] = {
    "growth_memory_bytes": ("Memory", megabytes, "Of training LoRA, above the loaded model."),
    "train_seconds": ("Training", duration, None),
    "adapter_bytes": ("Adapter", megabytes, None),
}
"""By cost: its label, how it is written, and its help."""


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
    """Returns label, text and help of each known number: scores, costs of the LoRA to take, and the best reference."""
    shown, taken = list[tuple[str, str, str | None]](), verdict.choice in ("peft", None)
    of = f"Zero-shot, then LoRA {verdict.lora}, on the {verdict.part} rows."
    for key, ends in verdict.scores.items():
        share, name = key == "accuracy", METRICS[key].written
        label = f"{name[0].upper()}{name[1:]}{'' if taken else ', LoRA'}"
        if not any(map(math.isnan, ends)):
            before, after = (f"{100 * end:.1f}" if share else metric_text(end) for end in ends)
            shown.append((label, f"{before} → {after}{' %' if share else ''}", of))
    for cost, (label, write, help) in _COSTS.items():
        if taken and not math.isnan(verdict.costs[cost]):
            shown.append((label, write(verdict.costs[cost]), help))
    if (classic := verdict.classic) is not None:
        name, metric = classic.name.removeprefix("the "), METRICS[verdict.metric].written
        help = f"{metric} on the validation rows; the model has {metric_text(classic.ours)} there."
        shown.append((f"{name[0].upper()}{name[1:]}, {metric}", metric_text(classic.score), help))
    return shown


def metric_text(value: float) -> str:
    """Writes a score with three decimals, or three digits if it is large.

    >>> metric_text(0.05801), metric_text(33.195)
    ('0.058', '33.2')
    """
    return decimal(value, 3) if abs(value) < 10 else decimal(value, 1)
