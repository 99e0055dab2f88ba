"""Every run with its numbers, best validation score first."""

import pandas as pd
import streamlit as st

from dashboard import reading
from dashboard.choice import chosen, go, pick, renew
from dashboard.words import STATUS, plain, score, sweep_title
from tabtune_core.errors import StoreError
from tabtune_core.metrics import METRICS, SELECTION, metrics_of
from tabtune_core.runs.ranking import of_task
from tabtune_core.runs.recommend import with_noise
from tabtune_core.settings import STRATEGY_NAMES

ALL = "all"
METERS = {"resident": "process (resident)", "torch_allocated": "GPU (torch allocated)"}
TIED = "Within noise of the best"
SPREAD = "± gain"


def table(ranked: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The columns that a person reads, in their units."""
    shown = pd.DataFrame(
        {
            "Place": ranked["place"],
            "Run": ranked["name"],
            "Status": ranked["status"].map(STATUS),
            "Model": ranked["model"],
            "Way": ranked["strategy"].map(STRATEGY_NAMES),
            "Rank": ranked["rank"],
            "Alpha": ranked["alpha"],
            "Dropout": ranked["dropout"],
            "Seed": ranked["seed"],
            "Trainable (%)": ranked["trainable_percent"],
            "Validation": ranked[f"validation_{metric}"],
            "Test": ranked[f"test_{metric}"],
            "Gain over zero-shot": ranked["gain"],
            "Steps": ranked["steps"],
            "Best step": ranked["best_step"],
            "Peak memory (MB)": ranked["peak_memory_bytes"].astype("Float64") / 1e6,
            "Memory over the model (MB)": ranked["growth_memory_bytes"].astype("Float64") / 1e6,
            "Meter": ranked["memory_meter"].map(METERS),
            "Training (s)": ranked["train_seconds"],
            "Prediction (s)": ranked["predict_seconds"],
            "Adapter (kB)": ranked["adapter_bytes"].astype("Float64") / 1e3,
            "Note": ranked["note"],
        }
    )
    if "tied_with_best" in ranked:
        shown.insert(1, TIED, ranked["tied_with_best"].map({True: "✓ yes", False: "no"}).fillna(""))
        shown.insert(list(shown).index("Gain over zero-shot") + 1, SPREAD, ranked["gain_standard_error"])
    return shown


def columns(shown: pd.DataFrame, metric: str) -> dict[str, object]:
    """How each column is written."""
    meaning = METRICS[metric]
    in_share = meaning.unit == "share" and meaning.higher_is_better
    digits = meaning.decimals(float(shown["Validation"].abs().max()))
    score_help = f"{meaning.label} ({meaning.unit}); {'higher' if meaning.higher_is_better else 'lower'} is better. {meaning.help}"

    def score(where: str) -> object:
        if in_share:
            return st.column_config.ProgressColumn(f"{where} {meaning.label}", help=score_help, format="%.4f", min_value=0, max_value=1)
        return st.column_config.NumberColumn(f"{where} {meaning.label}", help=score_help, format=f"%.{digits}f")

    most = float(shown["Peak memory (MB)"].max()) if shown["Peak memory (MB)"].notna().any() else 1.0
    number = st.column_config.NumberColumn
    return {
        "Place": number(width="small", pinned=True),
        "Run": st.column_config.TextColumn(pinned=True),
        "Trainable (%)": number(format="%.2f", help="Share of the model's parameters that training may change."),
        "Validation": score("Validation"),
        "Test": score("Test"),
        "Gain over zero-shot": number(
            format=f"%+.{digits}f", help=f"On the validation rows, in the direction in which {meaning.label} ({meaning.unit}) is better."
        ),
        TIED: st.column_config.TextColumn(
            help="Whether the configuration lies within one standard error of the best one. Empty where that is not known."
        ),
        SPREAD: number(
            format=f"± %.{digits}f",
            help="One standard error of the configuration's gain, over the seeds, or with one seed over resamples of the validation rows."
            " The best step is chosen on these rows, which flatters the gain a little; the test score is not flattered.",
        ),
        "Peak memory (MB)": st.column_config.ProgressColumn(
            format="%.0f", min_value=0, max_value=most, help="Highest of the whole run, on the meter named under Meter."
        ),
        "Memory over the model (MB)": number(
            format="%.1f", help="Peak of training beyond the loaded model: the part that LoRA can change."
        ),
        "Training (s)": number(format="%.1f"),
        "Prediction (s)": number(format="%.2f", help="For the test rows."),
        "Adapter (kB)": number(format="%.1f", help="Size of the adapter package; empty where nothing like it is kept."),
        "Note": st.column_config.TextColumn(width="large"),
    }


st.title("Leaderboard")
sweeps = reading.sweeps()
if not sweeps:
    st.info("No run yet. Choose a table and a model first; every run then gets its line here.", icon=":material/leaderboard:")
    if st.button("Start a run", type="primary"):
        go("views/new_run.py")
    st.stop()

where, by = st.columns([2, 1])
with where:
    names = {ALL: "All runs of this workspace", **{name: sweep_title(sweep) for name, sweep in sweeps.items()}}
    elsewhere = chosen("sweep", list(sweeps), next(iter(sweeps)))  # on Live or Compare
    renew("board", when=elsewhere, value=elsewhere)
    sweep = pick("Runs", list(names), name="board", default=elsewhere, format_func=lambda name: names[name])
with by:
    tasks = list(dict.fromkeys(run.settings.task for run in reversed(reading.store().runs(None if sweep == ALL else sweep))))
    usual_metric = SELECTION[tasks[0]] if sweep == ALL else reading.selection_metric(sweep)
    metric = pick(
        "Rank by", [name for task in tasks for name in metrics_of(task)], name="metric", default=usual_metric,
        format_func=lambda name: METRICS[name].label + (f" ({METRICS[name].task})" if len(tasks) > 1 else ""),
    )  # fmt: skip
try:
    ranked = reading.ranked(None if sweep == ALL else sweep, metric)
    found = None if sweep == ALL else reading.recommended(sweep, metric)
except StoreError as error:
    st.error(str(error))
    st.stop()

if found is not None:
    ranked = with_noise(ranked, found.configurations)
shown = table(ranked, metric)
done = ranked.dropna(subset=["place"])
going = sweep != ALL and reading.active(reading.store().runs(sweep))
if going:
    st.caption("Some runs of this sweep are still to come. What rank buys is said when they have ended.")
elif found is not None and found.sentences:
    with st.container(border=True):
        st.markdown("\n\n".join(map(plain, found.sentences)))
        st.caption(f"{plain(found.basis)} Validation ranks; test is only reported.")
elif sweep == ALL:
    st.caption("Places across sweeps mean little: other tables, targets and seeds have other validation rows. Choose one sweep to compare.")
elif len(done):
    best = done.iloc[0]
    first = list(done.loc[done["place"] == 1, "name"])
    lead = f"**{first[0]}** leads" if len(first) == 1 else f"**{', '.join(first)}** share the first place"
    st.markdown(
        f"{lead} on the validation rows with {METRICS[metric].label} **{score(best[f'validation_{metric}'], metric)}**"
        f" (zero-shot {score(best[f'zero_shot_validation_{metric}'], metric)}). Validation ranks; test is only reported."
    )
usual = [name for name in shown if name not in ("Model", "Way", "Best step", "Prediction (s)", "Meter")]
with st.expander("Columns"):
    visible = st.multiselect("Columns to show", list(shown), default=usual, key="leaderboard_columns", label_visibility="collapsed")
no_gain = list(ranked.loc[ranked["note"].str.startswith("no gain"), "name"])
if no_gain:
    st.caption(
        f"No gain over zero-shot: {', '.join(no_gain)}. These runs gave the pretrained model back, which did better than any trained state."
    )
st.dataframe(
    shown,
    column_order=visible,
    column_config=columns(shown, metric),
    hide_index=True,
    height="content" if len(shown) < 20 else 600,
    placeholder="",
)
st.download_button(
    "Download the leaderboard (CSV)",
    of_task(ranked, METRICS[metric].task).to_csv(index=False),
    "leaderboard.csv",
    "text/csv",
    on_click="ignore",
    icon=":material/download:",
)
