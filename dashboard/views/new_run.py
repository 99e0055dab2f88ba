"""Choose a model, ranks and how to train; see what that costs; launch."""

import streamlit as st

from dashboard import forms, reading
from dashboard.choice import choose, chosen, go, keep, pick, renew
from dashboard.pricing import price_ranks
from dashboard.words import plain
from tabtune_core.errors import LabelError, SettingError, TabTuneError
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import CATALOGUE, check_request, get_card
from tabtune_core.presets import PRESETS, preset_for
from tabtune_core.settings import SweepSettings

BYTES_A_PARAMETER = 4


def model_cards() -> ModelCard:
    """The models side by side; one is chosen."""
    current = chosen("model", list(CATALOGUE), forms.DEFAULTS["model"])
    with st.grid(len(CATALOGUE), min_column_width=220):
        for card in CATALOGUE.values():
            with st.container(border=True, height="stretch"):
                model_card(card, card.name == current)
    keep("model", current)
    return get_card(current)


def model_card(card: ModelCard, current: bool) -> None:
    """What a person needs to know before choosing this model."""
    weights = card.weights_for("classification")
    st.markdown(f"**{card.title}** · {weights.total_parameters / 1e6:.1f} M parameters")
    if card.in_the_box:
        st.badge("in the box", icon=":material/check:", color="green")
    else:
        st.badge("to download", icon=":material/download:", color="orange")
    st.caption(f"{plain(card.note)} Licence {card.licence}.")
    if not card.in_the_box:
        size = weights.total_parameters * BYTES_A_PARAMETER / 1e6
        st.caption(f"`{weights.file}` (about {size:.0f} MB) from huggingface.co/{weights.repository}, once, into the Hugging Face cache.")
    if not card.family.installed:
        st.caption(f"Needs a package that is not installed: `{card.family.install}`")
    st.space("stretch")
    st.button(
        "Chosen" if current else "Choose",
        key=f"model_{card.name}",
        on_click=choose,
        args=("model", card.name),
        width="stretch",
        type="primary" if current else "secondary",
        icon=":material/check:" if current else None,
    )


def preset_help(name: str) -> str:
    """What a row of the quick reference sets."""
    row = PRESETS[name]
    lora = row.lora
    return f"{row.title}: rank {lora.rank}, alpha {lora.effective_alpha:g}, dropout {lora.dropout:g}, rate {row.learning_rate:.0e}."


def preset() -> None:
    """Puts the chosen row of the quick reference into the widgets; it does not stay chosen, as any of them may be changed afterwards."""
    row = PRESETS[st.session_state["preset"]]
    st.session_state["preset"] = None
    tied = row.lora.effective_alpha == 2 * row.lora.rank
    st.session_state.update(ranks=[row.lora.rank], tied=tied, dropout=row.lora.dropout, learning_rate=row.learning_rate)
    if not tied:
        st.session_state["alpha"] = row.lora.effective_alpha


def load(text: str) -> None:
    """Settings from text into the widgets; table and target too, where this workspace has them."""
    for said in ("load_error", "load_note"):
        st.session_state.pop(said, None)
    try:
        sweep = SweepSettings.from_toml(text)
        get_card(sweep.run.model)
        forms.fill(sweep)
    except SettingError as error:
        st.session_state["load_error"] = str(error)
        return
    choose("model", sweep.run.model)
    absent = what_is_absent(sweep)
    if absent:
        st.session_state["load_note"] = f"{absent} Table, column and the split at the median stay as they are; all else is in the form."
        return
    choose("table", sweep.run.dataset)
    choose("target", sweep.run.target)
    choose("median", "yes" if sweep.run.split_at_median else "no")


def what_is_absent(sweep: SweepSettings) -> str | None:
    """Why the table and the target of the settings cannot be chosen here, if they cannot."""
    found = reading.tables().get(sweep.run.dataset)
    if found is None:
        table, column = sweep.run.dataset[:12], sweep.run.target
        return f"The settings are for the table {table!r} and its column {column!r}; that table is not in this workspace."
    if sweep.run.target not in [column.name for column in found.columns]:
        return f"The settings are for the column {sweep.run.target!r}, which the table {found.name!r} does not have."
    return None


def as_text(sweep: SweepSettings, name: str) -> None:
    """The whole sweep as TOML and as a command, and the way back."""
    text = sweep.to_toml()
    st.code(text, language="toml", height=300)
    st.download_button("Download the settings", text, "sweep.toml", "application/toml", on_click="ignore", icon=":material/download:")
    st.caption("The same without the pages, beside the downloaded sweep.toml:")
    st.code(forms.command_line(sweep.run.dataset, name, reading.home()), language="bash", wrap_lines=True)
    pasted = st.text_area("Load settings", placeholder="Paste TOML here", key="pasted_toml")
    file = st.file_uploader("Or a file", type=["toml"], key="toml_file", max_upload_size=1)
    given = file.getvalue().decode("utf-8", "replace") if file else pasted
    st.button("Put them into the form", on_click=load, args=(given,), disabled=not given.strip())
    if "load_error" in st.session_state:
        st.error(plain(st.session_state["load_error"]))
    if "load_note" in st.session_state:
        st.warning(plain(st.session_state["load_note"]))


def problem(card: ModelCard, table: str, target: str, median: bool) -> str | None:
    """Why this model cannot predict the column, if it cannot."""
    try:
        reading.label_findings(table, target, median, max_classes=card.family.class_limit)
    except LabelError as error:
        return str(error)
    return None


def launch(sweep: SweepSettings, name: str) -> None:
    """Queues, makes sure that a worker runs, and goes to the Live page; or says why not."""
    try:
        for run in sweep.expand():
            check_request(run)
        sweep_id, _ = reading.store().add_sweep(sweep.expand(), name)
        reading.keep_worker()
    except TabTuneError as error:
        st.error(plain(str(error)))
        return
    go("views/live.py", sweep=sweep_id)


st.title("New run")
tables = reading.tables()
if not tables:
    st.info("First a table: upload a CSV or take the sample.", icon=":material/table_chart:")
    if st.button("Add a table", type="primary"):
        go("views/data.py")
    st.stop()

left, right = st.columns(2)
with left:
    table = pick(
        "Table", list(tables), name="table", default=next(iter(tables)), format_func=lambda name: reading.table_title(tables[name])
    )
with right:
    names = [column.name for column in tables[table].columns]
    renew("target", when=table, value=reading.proposal(table).column or names[-1])
    target = pick("Column to predict", names, name="target", default=reading.proposal(table).column or names[-1])
median = chosen("median", ("no", "yes"), "no") == "yes" and reading.on_a_scale(table, target)
if median:
    st.caption("Split at the median into two classes, as chosen on the Data page.")

st.subheader("Model")
card = model_cards()
unfit = problem(card, table, target, median)
if unfit:
    st.error(plain(unfit))
    if reading.on_a_scale(table, target):
        st.button("Split at the median into two classes", on_click=choose, args=("median", "yes"))
form, price = st.columns([1.2, 1], gap="large")
with form:
    st.subheader("Adapter")
    rows = tables[table].rows
    suggested = preset_for(rows)
    st.pills(
        "Start from the quick reference",
        list(PRESETS),
        key="preset",
        on_change=preset,
        format_func=lambda name: PRESETS[name].title.split(" (")[0] + (" (fits this table)" if PRESETS[name] is suggested else ""),
        help="Sets rank, alpha, dropout and learning rate. " + " ".join(preset_help(name) for name in PRESETS),
    )
    forms.lora_widgets(card)
    st.subheader("Training")
    forms.training_widgets()
    forms.device_widget(reading.cards())
    st.subheader("Compare with")
    forms.baseline_widgets()
    with st.expander("Advanced", icon=":material/settings:"):
        forms.advanced_widgets()

with price:
    st.subheader("What it takes")
    try:
        sweep = forms.to_sweep({**forms.widget_values(), "model": card.name}, dataset=table, target=target, split_at_median=median)
        runs = sweep.expand()
    except SettingError as error:
        st.error(plain(str(error)))
        st.stop()
    st.metric("Runs", len(runs), help="Each rank, each baseline, times the seeds. They run one after the other.")
    if sweep.ranks:
        priced = price_ranks(card, sweep.run.task, sweep.ranks, alpha=sweep.run.lora.alpha, targets=sweep.run.lora.targets)
        st.dataframe(
            priced if priced["Capped layers"].any() else priced.drop(columns="Capped layers"),
            hide_index=True,
            column_config={
                "Rank": st.column_config.NumberColumn(width=50),
                "Adapter parameters": st.column_config.NumberColumn("Parameters", format="localized", width=85, help="Of the adapter."),
                "Share of the model (%)": st.column_config.NumberColumn(
                    "% of the model", format="%.2f", width=100, help="Trainable parameters against all, the adapter's included."
                ),
                "Against a full update (%)": st.column_config.NumberColumn(
                    "% of a full update",
                    format="%.1f",
                    width=120,
                    help="Adapter parameters against those of the weights they adapt. Above 100 the adapter saves nothing.",
                ),
                "Alpha": st.column_config.NumberColumn(format="%g", width=55),
                "Alpha / rank": st.column_config.NumberColumn(format="%.2f", width=85, help="How strongly the adapter's output is scaled."),
                "Capped layers": st.column_config.NumberColumn(
                    width=100, help="Layers narrower than the rank; there the rank is the layer's own width."
                ),
            },
        )
    ranks = ", ".join(str(rank) for rank in sweep.ranks)
    name = f"{tables[table].name}: {card.title}" + (f", r = {ranks}" if ranks else "")
    if st.button(
        f"Launch {len(runs)} run{'s' * (len(runs) != 1)}",
        type="primary",
        disabled=unfit is not None,
        icon=":material/rocket_launch:",
        width="stretch",
    ):
        launch(sweep, name)
    with st.expander("Settings as text", icon=":material/code:"):
        as_text(sweep, name)
