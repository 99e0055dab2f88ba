"""The parts of the Guide page: formulas, the picture of a layer, how to choose, what was measured, and this machine.

The prose is read from ``guide.md`` beside this file; section numbers are those of the guide that this product follows.
"""

import re
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components import browser_part, figure, full_vs_lora_table
from dashboard.components.plotly_chart import show
from dashboard.formatting import plain, sweep_title
from tabtune_core.analysis.run_diagnostics import GUIDE
from tabtune_core.charts.style import BASELINES, COLOURS
from tabtune_core.execution.doctor import examine, report
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings.advice import PRESETS, proposed
from tabtune_core.store.run_row import RANKED

SIDE = 150
"""Length of the weight's longer side in the picture, in SVG units."""
THINNEST = 4
MIDDLE = 100
_component = browser_part("svg", "<div class='lab-picture'></div>", isolate_styles=False)
FROZEN, A_COLOUR, B_COLOUR = BASELINES["Zero-shot"].colour, COLOURS[0], COLOURS[1]


def layer_picture(d_in: int, d_out: int, rank: int) -> str:
    """Returns an SVG of the weight W0 with B and A beside it, to scale; each side is at least ``THINNEST`` long, so
    that it can be seen.
    """
    scale = SIDE / max(d_in, d_out)
    wide, tall, thin = max(d_in * scale, THINNEST), max(d_out * scale, THINNEST), max(rank * scale, THINNEST)
    left = 30.0
    blocks = [_block(left, wide, tall, FROZEN, "W₀", f"{d_out} × {d_in}", "frozen", dashed=True)]
    left += wide + 30
    blocks.append(_sign(left, "+"))
    left += 25
    blocks.append(_sign(left + 22, "α/r ·"))
    left += 62
    blocks.append(_block(left, thin, tall, B_COLOUR, "B", f"{d_out} × {rank}", "trained"))
    left += max(thin, 56) + 16
    blocks.append(_sign(left, "·"))
    left += 20
    blocks.append(_block(left, wide, thin, A_COLOUR, "A", f"{rank} × {d_in}", "trained"))
    width = left + wide + 30
    said = (
        f"A frozen weight of {d_out} by {d_in}, plus alpha over r times B of {d_out} by {rank} times A of {rank} "
        f"by {d_in}."
    )
    return (
        f'<svg viewBox="0 0 {width:.0f} 244" style="width: 100%; max-width: {width:.0f}px; height: auto" role="img" '
        f'aria-label="{said}"'
        ' font-family="inherit" font-size="16" fill="currentColor" '
        f'text-anchor="middle"><title>{said}</title>{"".join(blocks)}</svg>'
    )


def _block(
    left: float, width: float, height: float, colour: str, name: str, size: str, state: str, *, dashed: bool = False
) -> str:
    """A matrix with its name and size under it."""
    centre, dash = left + width / 2, ' stroke-dasharray="5 3"' if dashed else ""
    return (
        f'<rect x="{left:.1f}" y="{MIDDLE - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" '
        f'fill="{colour}"'
        f' fill-opacity="{0.18 if dashed else 0.85}" stroke="{colour}" stroke-width="1.5"{dash}/>'
        f'<text x="{centre:.1f}" y="200" font-weight="600" font-size="18">{name}</text>'
        f'<text x="{centre:.1f}" y="219">{size}</text><text x="{centre:.1f}" y="237" opacity="0.7" '
        f'font-size="15">{state}</text>'
    )


def _sign(centre: float, text: str) -> str:
    return f'<text x="{centre:.1f}" y="{MIDDLE + 6}" font-size="20">{text}</text>'


def _sections(text: str, mark: str) -> dict[str, str]:
    """Returns the text below each heading that begins with ``mark`` (such as "##"), by the heading's name."""
    parts = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True))


TEXTS = _sections(Path(__file__).with_name("guide.md").read_text(encoding="utf-8"), "##")
"""Section name to Markdown."""
CLAIMS = {
    topic: [part.replace("\n", " ") for part in told.split("\n\n")]
    for topic, told in _sections(TEXTS.pop("claims"), "###").items()
}
"""Topic to the guide's statement, what was measured, and where and when, or its source."""
STEPS = (
    ("views/data/page.py", "1 · Data", "Upload a table, or take a sample. Check the target column and the findings."),
    (
        "views/new_run/page.py",
        "2 · New run",
        "Keep the proposal: a small model, a few ranks, zero-shot and full fine-tuning. Launch.",
    ),
    (
        "views/live/page.py",
        "3 · Live",
        "Watch accuracy, memory and time. You can close the browser; the runs continue.",
    ),
    (
        "views/leaderboard/page.py",
        "4 · Leaderboard",
        "See how the score depends on the rank, then download the adapter from the Adapters page.",
    ),
)
LARGEST = 8192
GUIDE_LAYER = "768 × 768"
RELEASED = ("tabicl-v2", "tabdpt-1.3", "mitra-v2")


def first_visit() -> None:
    """Shows the four steps of a first sweep, with links."""
    with st.grid(4, min_column_width=200):
        for page, title, text in STEPS:
            with st.container(border=True, height="stretch"):
                st.page_link(page, label=f"**{title}**")
                st.caption(text)


def idea() -> None:
    """What LoRA is: the guide's sections 1 and 2.1."""
    st.markdown(TEXTS["idea"])
    st.latex(r"W' = W_0 + \Delta W,\qquad \Delta W = \frac{\alpha}{r}\,B A")
    st.latex(r"B\in\mathbb{R}^{d_{out}\times r},\qquad A\in\mathbb{R}^{r\times d_{in}}")
    st.markdown(TEXTS["rank"])


def layer_sizes() -> dict[str, tuple[int, int]]:
    """Returns ``(out, in)`` of the guide's example layer and of the largest adapted layer of each released model."""
    sizes = {GUIDE_LAYER: (768, 768)}
    for card in map(CATALOGUE.__getitem__, RELEASED):
        out, width = max(card.adapted_shapes("classification").values(), key=lambda shape: shape[0] * shape[1])
        sizes[f"{card.title}: {out} × {width}"] = (out, width)
    return sizes


def take_sizes() -> None:
    """Puts the sizes of the chosen layer into the fields."""
    if (chosen := st.session_state["guide_layer"]) is not None:
        st.session_state["guide_out"], st.session_state["guide_in"] = layer_sizes()[chosen]


def layer() -> None:
    """Shows a layer whose sizes, rank and alpha can be changed: picture, parameters, share, scaling, and where LoRA
    stops saving.
    """
    st.header("One layer, to scale")
    st.pills("Use the sizes of", list(layer_sizes()), key="guide_layer", on_change=take_sizes, default=GUIDE_LAYER)
    with st.grid(4, min_column_width=150):
        d_in = st.number_input("Inputs d_in", value=768, key="guide_in", help="Columns of the weight W₀.")
        d_out = st.number_input("Outputs d_out", value=768, key="guide_out", help="Rows of the weight W₀.")
        rank = st.number_input("Rank r", value=8, key="guide_rank", help="Width of B and height of A.")
        alpha = st.number_input("Alpha", value=16.0, key="guide_alpha", format="%g", help="Twice the rank is usual.")
    if not (min(d_in, d_out, rank) >= 1 and max(d_in, d_out, rank) <= LARGEST and 0 < alpha <= 1e6):
        st.error(f"Inputs, outputs and rank can be 1 to {LARGEST:,}, and alpha any number above 0 up to 1,000,000.")
        return
    capped = min(rank, d_in, d_out)
    if capped < rank:
        st.warning(
            f"A matrix of {d_out} by {d_in} has at most rank {capped}; the adapter uses that rank, and the report "
            "says so."
        )
    adapter, whole, even = capped * (d_in + d_out), d_in * d_out, d_in * d_out / (d_in + d_out)
    left, right = st.columns([1.2, 1], gap="large")
    with left:
        _component(data={"picture": layer_picture(d_in, d_out, capped)}, key="guide_picture")
    with right, st.container(horizontal=True):
        figure("Weight", f"{whole:,}", help="d_in × d_out parameters: what full fine-tuning trains.")
        figure("Adapter", f"{adapter:,}", help="r (d_in + d_out) parameters: what LoRA trains.")
        figure("Share", f"{adapter / whole:.1%}", help="Adapter parameters divided by weight parameters.")
        figure("Scaling α/r", f"{alpha / capped:.3g}", help="Factor in front of B A.")
    numbers = rf"\frac{{{adapter:,}}}{{{whole:,}}}".replace(
        ",", "{,}"
    )  # a bare comma would be set as between two numbers
    st.latex(r"\frac{r\,(d_{in}+d_{out})}{d_{in}\,d_{out}} = " + numbers + rf" = {100 * adapter / whole:.2f}\,\%")
    st.markdown(
        f"LoRA stops saving parameters at r* = d_in d_out / (d_in + d_out) = **{even:,.1f}**: beyond it the two thin "
        "matrices hold more"
        " numbers than the weight."
    )
    ranks = pd.Series(sorted({*range(1, min(d_in, d_out, 256) + 1), min(d_in, d_out)}))
    sizes = pd.DataFrame({"rank": ranks, "adapter": ranks * (d_in + d_out), "layer": whole})
    show("adapter_size", sizes, label="Trainable parameters against rank", rank=capped)


def scaling_and_dropout() -> None:
    """The guide's sections 2.2, 2.3 and 3."""
    st.header("Alpha and dropout")
    st.latex(r"h = W_0\,x + \frac{\alpha}{r}\,B A\,\mathrm{dropout}(x)")
    st.markdown(TEXTS["alpha"])
    st.header("What is trained, exactly")
    st.markdown(TEXTS["trained"])


def choosing() -> None:
    """Shows the guide's sections 4 and 15, for the newest table if there is one."""
    st.header("Quick reference")
    newest = next(iter(queries.tables().values()), None)
    fits = PRESETS[proposed(newest.rows)] if newest else None
    rows = [
        {
            "Case": row.title,
            "Rank": row.lora.rank,
            "Alpha": row.lora.effective_alpha,
            "Dropout": row.lora.dropout,
            "Learning rate": f"{row.learning_rate:.0e}",
            **({"Yours": "✓" if row is fits else ""} if fits else {}),
        }
        for row in PRESETS.values()
    ]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, column_config={"Alpha": st.column_config.NumberColumn(format="%g")}
    )
    if newest is not None and fits is not None:
        formula = max(4, newest.rows / 50_000)
        st.markdown(
            f"For **{plain(newest.name)}** with {newest.rows:,} rows the table says **r = {fits.lora.rank}**. The "
            "guide's formula"
            f" r = max(4, rows / 50,000) gives {formula:.3g}; where the two disagree the table is used."
        )
    st.markdown(TEXTS["advice"])
    with st.grid(2, min_column_width=280):
        for title, icon, text in (
            ("Do", ":green[:material/check:]", "do"),
            ("Do not", ":red[:material/close:]", "do_not"),
        ):
            with st.container(border=True, height="stretch"):
                st.markdown(f"**{title}**")
                st.markdown("\n\n".join(f"{icon} {line.removeprefix('- ')}" for line in TEXTS[text].splitlines()))


def found() -> None:
    """Shows the guide's statements, what was measured, and the result of the newest comparable sweep of this workspace."""
    st.header("Rules of thumb, checked")
    for topic, (guide, result, where) in CLAIMS.items():
        with st.container(border=True):
            st.markdown(f"**{topic}.** The guide: {guide}.")
            st.markdown(result)
            st.caption(where)
    st.header("On your own table")
    for sweep, seen in queries.sweeps().items():
        if RANKED.isdisjoint(seen.counts) or not queries.listed(sweep):  # the latter: its rows cannot be read
            continue
        metric = queries.selection_metric(sweep)
        measured = queries.against_full(sweep, metric)
        if measured[["full", "lora"]].isna().any(axis=1).all():
            continue
        st.caption(f"Measured in {plain(sweep_title(seen))}.")
        said = queries.recommended(sweep, metric)
        st.markdown("\n\n".join(map(plain, said.sentences)))
        st.caption(plain(said.basis))
        full_vs_lora_table.show(measured, metric)
        return
    st.info(
        "No sweep here has both LoRA and full fine-tuning yet. Its figures will appear here.",
        icon=":material/straighten:",
    )
    st.page_link("views/new_run/page.py", label="Start one", icon=":material/tune:")


def troubles() -> None:
    """Shows the guide's section 11, corrected."""
    st.header("Troubleshooting")
    rows = [
        {"What you see": row.symptom, "Try first": row.first, "What else helps": row.then} for row in GUIDE.values()
    ]
    st.table(pd.DataFrame(rows).set_index("What you see"))
    st.caption(
        "Live shows under One run which of these applies to a run, with its numbers and, if possible, a button that "
        "fixes it."
    )


def this_machine() -> None:
    """On request, show what ``doctor`` finds on the server's machine, as text for an issue report."""
    st.markdown(
        "Python, packages, GPUs, weights, disks, memory and the worker, as `loralab doctor` prints them. Attach it "
        "to an issue."
    )
    if not st.button("Check this machine", icon=":material/stethoscope:", key="doctor"):
        return
    checks = examine(queries.home())
    problems = [check.name for check in checks if check.state == "problem"]
    if problems:
        st.error(f"Runs cannot work yet: see {', '.join(problems)}.", icon=":material/error:")
    else:
        st.success("Runs can work on this machine.", icon=":material/check:")
    st.code(report(checks), language=None)
