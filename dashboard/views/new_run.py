"""Choose a model, ranks and how to train; see what that costs; launch."""

import streamlit as st

from dashboard import form_widgets, forms, reading
from dashboard.choice import choose, chosen, go, keep, pick, renew
from dashboard.pricing import price_ranks
from dashboard.target_choice import pick_way
from dashboard.words import WAYS, plain
from tabtune_core.data.target import Way
from tabtune_core.errors import LabelError, SettingError, TableError, TabTuneError
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import CATALOGUE, check_features, check_request, get_card
from tabtune_core.presets import PRESETS, preset_for
from tabtune_core.settings import SweepSettings

BYTES_A_PARAMETER = 4


def closed(card: ModelCard, task: Task) -> str | None:
    """Why a model cannot be chosen for a task, if it cannot."""
    if task not in card.weights:
        return f"No weights for {task}."
    if not card.family.installed:
        return f"Its package is not installed: `{card.family.install}`"
    return None


def model_cards(task: Task) -> ModelCard:
    """The models, family by family, those in the box first; one is chosen."""
    cards = sorted(CATALOGUE.values(), key=lambda card: not card.in_the_box)
    current = get_card(chosen("model", *_open_to(cards, task)))
    st.subheader(f"Model: {current.title}")
    families = list(dict.fromkeys(card.family.name for card in CATALOGUE.values()))
    for family, tab in zip(families, st.tabs(families, default=current.family.name, key="families"), strict=True):
        with tab, st.grid(4, min_column_width=220):
            for card in cards:
                if card.family.name == family:
                    with st.container(border=True, height="stretch"):
                        model_card(card, task, current)
    keep("model", current.name)
    return current


def _open_to(cards: list[ModelCard], task: Task) -> tuple[list[str], str]:
    """Names of the models that can be chosen, and the one that is unless a person chooses."""
    names = [card.name for card in cards if closed(card, task) is None]
    return names, names[0]


def limits(card: ModelCard, task: Task) -> str:
    """How large a table the model takes."""
    known = {"classes": card.family.class_limit} if task == "classification" else {}
    known |= {"columns": card.family.feature_limit, "context rows": card.family.context_limit}
    told = [f"{most:,} {what}" for what, most in known.items() if most is not None]
    return f"At most {', '.join(told)}." if told else f"No limit on {', '.join(known)}."


def choose_model(card: ModelCard, task: Task, before: ModelCard) -> None:
    """Chooses a model; of another family are asked only those parts to adapt that it has."""
    choose("model", card.name)
    if card.family.name != before.family.name:
        held = st.session_state.get("targets", [])
        st.session_state["targets"] = [part for part in held if part in form_widgets.parts_of(card, task)]


def model_card(card: ModelCard, task: Task, current: ModelCard) -> None:
    """What a person needs to know before choosing this model."""
    weights = card.weights.get(task) or next(iter(card.weights.values()))
    badge = ":green-badge[:material/check: in the box]" if card.in_the_box else ":orange-badge[:material/download: to download]"
    st.markdown(f"**{card.title}** {badge}")
    st.caption(f"{weights.total_parameters / 1e6:.1f} M parameters. {limits(card, task)} Licence {card.licence}. {plain(card.note)}")
    if weights.repository is not None:
        size = weights.total_parameters * BYTES_A_PARAMETER / 1e6
        st.caption(f"About {size:.0f} MB from huggingface.co/{weights.repository}, once.")
    st.space("stretch")
    why_not = closed(card, task)
    if why_not:
        st.caption(f":material/block: {why_not}")
    st.button(
        "Chosen" if card is current else "Choose", key=f"model_{card.name}", on_click=choose_model, args=(card, task, current),
        type="primary" if card is current else "secondary", icon=":material/check:" if card is current else None, width="stretch",
        disabled=why_not is not None,
    )  # fmt: skip


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
        why_not = closed(get_card(sweep.run.model), sweep.run.task)
        if why_not:
            raise SettingError(f"The settings are for the model {sweep.run.model!r}. {why_not}")
        forms.fill(sweep)
    except SettingError as error:
        st.session_state["load_error"] = str(error)
        return
    choose("model", sweep.run.model)
    absent = what_is_absent(sweep)
    if absent:
        st.session_state["load_note"] = f"{absent} Table, column and what is predicted of it stay as they are; all else is in the form."
        return
    choose("table", sweep.run.dataset)
    choose("target", sweep.run.target)
    choose("way", way_of(sweep))


def way_of(sweep: SweepSettings) -> Way:
    """How the settings predict their target."""
    return "numbers" if sweep.run.task == "regression" else "halves" if sweep.run.split_at_median else "classes"


def what_is_absent(sweep: SweepSettings) -> str | None:
    """Why the table and the target of the settings cannot be chosen here, if they cannot."""
    found = reading.tables().get(sweep.run.dataset)
    if found is None:
        table, column = sweep.run.dataset[:12], sweep.run.target
        return f"The settings are for the table {table!r} and its column {column!r}; that table is not in this workspace."
    if sweep.run.target not in [column.name for column in found.columns]:
        return f"The settings are for the column {sweep.run.target!r}, which the table {found.name!r} does not have."
    if way_of(sweep) not in reading.ways(found.id, sweep.run.target):
        return f"The settings predict {sweep.run.target!r} in a way ({WAYS[way_of(sweep)].lower()}) that its values do not allow."
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


def unfit(card: ModelCard, table: str, target: str, way: Way) -> str | None:
    """Why this model cannot predict the column, if it cannot."""
    try:
        reading.label_findings(table, target, way, max_classes=card.family.class_limit)
        check_features(card, reading.features(table, target))
    except (LabelError, TableError) as error:
        return str(error)
    return None


def refused(sweep: SweepSettings, cards: list[str]) -> str | None:
    """Why one of the runs would fail before its first step, if it would. ``cards`` names the NVIDIA cards of this machine."""
    run = sweep.run
    if run.train.amp != "off" and (run.device == "cpu" or (run.device == "auto" and not cards)):
        return "16-bit training needs a CUDA card, and these runs would be on the CPU. Switch it off under Advanced."
    try:
        for one in sweep.expand():
            check_request(one)
    except TabTuneError as error:
        return str(error)
    return None


def launch(sweep: SweepSettings, name: str) -> None:
    """Queues, makes sure that a worker runs, and goes to the Live page; or says why not."""
    try:
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
    way = pick_way(table, target)
task = reading.TASKS[way]

card = model_cards(task)
no_fit = unfit(card, table, target, way)
if no_fit:
    st.error(plain(no_fit))
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
    form_widgets.lora_widgets(card, task)
    st.subheader("Training")
    form_widgets.training_widgets()
    form_widgets.device_widget(reading.cards())
    st.subheader("Compare with")
    form_widgets.baseline_widgets()
    with st.expander("Advanced", icon=":material/settings:"):
        form_widgets.advanced_widgets(task)

with price:
    st.subheader("What it takes")
    try:
        values = {**forms.widget_values(), "model": card.name}
        sweep = forms.to_sweep(values, dataset=table, target=target, task=task, split_at_median=way == "halves")
        runs = sweep.expand()
    except SettingError as error:
        st.error(plain(str(error)))
        st.stop()
    st.metric("Runs", len(runs), help="Each rank, each baseline, times the seeds. They run one after the other.")
    if sweep.ranks:
        priced = price_ranks(card, task, sweep.ranks, sweep.run.lora)
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
                "Scaling": st.column_config.NumberColumn(
                    format="%.2f", width=70, help="Of the adapter's output: alpha / rank, or with rsLoRA alpha / root of the rank."
                ),
                "Capped layers": st.column_config.NumberColumn(
                    width=100, help="Layers narrower than the rank; there the rank is the layer's own width."
                ),
            },
        )
        if sweep.run.lora.rank_pattern or sweep.run.lora.use_dora or sweep.run.lora.bias != "none":
            st.caption("Without the biases, the lengths of DoRA and the other ranks that are set under Advanced.")
    no_start = refused(sweep, reading.cards())
    if no_start:
        st.error(plain(no_start))
    ranks = ", ".join(str(rank) for rank in sweep.ranks)
    name = f"{tables[table].name}: {card.title}" + (f", r = {ranks}" if ranks else "")
    if st.button(
        f"Launch {len(runs)} run{'s' * (len(runs) != 1)}",
        type="primary",
        disabled=bool(no_fit or no_start),
        icon=":material/rocket_launch:",
        width="stretch",
    ):
        launch(sweep, name)
    with st.expander("Settings as text", icon=":material/code:"):
        as_text(sweep, name)
