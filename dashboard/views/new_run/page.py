"""The New run page: table, model and ranks first, then everything else; the cost and Launch are always in view."""

import dataclasses
from contextlib import suppress

import streamlit as st

from dashboard import queries
from dashboard.components.glossary import define
from dashboard.components.target_picker import NOT_CHOSEN, pick_split, pick_target, pick_way
from dashboard.components.unreadable import errors_shown
from dashboard.formatting import plain
from dashboard.url_state import handed_over, nothing_yet, pick, say_gone, stop
from dashboard.views.new_run import form_widgets, forms, launch_panel, proposal, text_panel
from dashboard.views.new_run.estimate_panel import Judged, estimate_panel
from dashboard.views.new_run.fits_panel import fits_panel
from dashboard.views.new_run.model_picker import pick_model
from tabtune_core.errors import SettingError, TableError, TabTuneError
from tabtune_core.models.catalogue import with_tried_rates
from tabtune_core.search.budget import Parts, check_budget

st.title("New run", help=define("Rank", "Adapter", "Alpha", "Zero-shot", "Full fine-tuning", "Reference"))
tables = queries.tables()
say_gone("table", list(tables), "table")
if not tables:
    first = "Add a table first: upload a CSV or use the sample."
    nothing_yet(first, "table_chart", button="Add a table", page="views/data/page.py")

forms.remember()
if (handed := handed_over("settings")) is not None:
    text_panel.load(handed)
left, middle, right = st.columns(3)
with left:
    titles = queries.table_titles(tables.values()).__getitem__
    table = pick("Table", list(tables), name="table", default=next(iter(tables)), format_func=titles)
with middle, errors_shown(TableError, stop=True):
    target = pick_target(tables[table])
    if target == NOT_CHOSEN:
        st.info("Choose the column to predict first.", icon=":material/arrow_upward:")
        stop()
    way = pick_way(table, target)
task, rows = queries.TASKS[way], tables[table].rows
with right:
    card, cluster = pick_model(task), queries.cluster()

minutes = form_widgets.minutes_widget()
if minutes is None:
    form_widgets.ranks_widget()
    proposal.offer(rows)
form_widgets.baseline_widgets(searching=minutes is not None)
notes = st.container()
with st.expander("More settings", icon=":material/tune:", key="advanced"), errors_shown(TableError, stop=True):
    split = pick_split(tables[table], target)
    form_widgets.more_widgets(card, task, cluster)

with errors_shown(SettingError, stop=True):
    values = {name: st.session_state[name] for name in forms.DEFAULTS if name in st.session_state}
    forms.keep(values)
    values["model"] = card.name
    asked = forms.to_sweep(
        values, dataset=table, target=target, task=task, split_at_median=way == "halves", split=split
    )
    parts = None if minutes is None else Parts.of(asked)
    if parts is not None:  # the form shows what the first run needs
        asked = dataclasses.replace(asked, ranks=(parts.template.lora.rank,), one_rate=True)
sweep = with_tried_rates(asked)
with notes:
    launch_panel.show_findings(sweep, way)
stops, judged = launch_panel.what_stops(sweep, len(cluster.cards) if cluster else None), Judged()
for reason in stops:
    st.error(plain(reason), icon=":material/block:")
# layers of another model, an impossible split: they are among the reasons
with suppress(*((TabTuneError,) if stops else ())):
    costs = st.expander("Memory and time", icon=":material/memory:")
    judged = estimate_panel(sweep, card, way, box=costs, stopped=bool(stops))
    with costs:
        if sweep.ranks:
            launch_panel.show_adapters(card, task, sweep)
        launch_panel.show_advice(card, task, asked)
    fits_panel(sweep, way)
if parts is not None and minutes is not None and judged.clock is not None:
    try:
        st.caption(check_budget(60 * minutes, parts.template, parts.last, judged.clock))
    except SettingError as error:
        stops.append(str(error))
        st.error(plain(str(error)), icon=":material/timer:")
if judged.too_large:
    st.error(plain(judged.too_large), icon=":material/memory:")
name = forms.sweep_name(tables[table].name, card.title, asked)
if parts is not None:
    name = f"{tables[table].name}: {card.title}, best of {minutes:g} minutes"
text_panel.what_was_loaded()
as_text = st.expander("Settings as text", icon=":material/code:", key="as_text", on_change="rerun")
if as_text.open:
    with as_text:
        text_panel.show(asked)
launch_panel.launch_bar(sweep, name, stops, judged, minutes)
