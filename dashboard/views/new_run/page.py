"""The New run page: choose a model, what to compare and how to train; see the cost; launch."""

from contextlib import suppress

import streamlit as st

from dashboard import queries
from dashboard.components.glossary import define
from dashboard.components.target_picker import NOT_CHOSEN, pick_split, pick_target, pick_way
from dashboard.components.unreadable import errors_shown
from dashboard.formatting import plain
from dashboard.url_state import handed_over, nothing_yet, pick, say_gone, stop
from dashboard.views.new_run import form_widgets, forms, launch_panel, text_panel
from dashboard.views.new_run.estimate_panel import Judged, estimate_panel
from dashboard.views.new_run.model_cards import model_cards
from dashboard.views.new_run.starting_points import starting_points
from tabtune_core.errors import SettingError, TableError, TabTuneError
from tabtune_core.models.catalogue import with_tried_rates

st.title("New run")
tables = queries.tables()
say_gone("table", list(tables), "table")
if not tables:
    nothing_yet(
        "Add a table first: upload a CSV or use the sample.",
        "table_chart",
        button="Add a table",
        page="views/data/page.py",
    )

if (handed := handed_over("settings")) is not None:
    text_panel.load(handed)
left, right = st.columns(2)
with left:
    table = pick(
        "Table",
        list(tables),
        name="table",
        default=next(iter(tables)),
        format_func=queries.table_titles(tables.values()).__getitem__,
    )
with right, errors_shown(TableError, stop=True):
    target = pick_target(tables[table])
    if target == NOT_CHOSEN:
        st.info("Choose the column to predict first.", icon=":material/arrow_upward:")
        stop()
    way = pick_way(table, target)
    split = pick_split(tables[table], target)
task, rows = queries.TASKS[way], tables[table].rows

card, cluster = model_cards(task), queries.cluster()
form, price = st.columns([1.2, 1], gap="large")
with form:
    st.header("Adapter", help=define("Adapter", "Rank", "Alpha", "Target module"))
    start = st.container()
    form_widgets.lora_widgets(card, task)
    st.header("Training", help=define("Episode", "Context row", "Query row"))
    form_widgets.training_widgets(card, task)
    form_widgets.device_widget(cluster)
    st.header("Compare with", help=define("Zero-shot", "Full fine-tuning", "Reference"))
    form_widgets.baseline_widgets(card, task)
    advanced = st.expander("Advanced", icon=":material/settings:", key="advanced", on_change="rerun")
    if advanced.open or form_widgets.holds_a_choice(task):
        with advanced:
            form_widgets.advanced_widgets(task)
    with start:
        starting_points(card, task, rows)

with price:
    st.header("What it takes")
    with errors_shown(SettingError, stop=True):
        values = {name: st.session_state[name] for name in forms.DEFAULTS if name in st.session_state} | {
            "model": card.name
        }
        asked = forms.to_sweep(
            values, dataset=table, target=target, task=task, split_at_median=way == "halves", split=split
        )
        sweep = with_tried_rates(asked)
    launch_panel.show_size(sweep)
    launch_panel.show_findings(sweep, way)
    cluster_cards = len(cluster.cards) if cluster else None
    stops, judged = launch_panel.what_stops(sweep, cluster_cards), Judged()
    for reason in stops:
        st.error(plain(reason), icon=":material/block:")
    with suppress(
        *((TabTuneError,) if stops else ())
    ):  # layers of another model, an impossible split: they are among the reasons
        if sweep.ranks:
            launch_panel.show_adapters(card, task, sweep)
        judged = estimate_panel(sweep, card, way, stopped=bool(stops))
        launch_panel.show_advice(card, task, asked, rows)
    if judged.too_large:
        st.error(plain(judged.too_large), icon=":material/memory:")
    name = forms.sweep_name(tables[table].name, card.title, asked)
    text_panel.what_was_loaded()
    as_text = st.expander("Settings as text", icon=":material/code:", key="as_text", on_change="rerun")
    if as_text.open:
        with as_text:
            text_panel.show(asked, name)
launch_panel.launch_bar(sweep, name, stops, judged)
