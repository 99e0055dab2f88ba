"""The choice of adapters for one table and target, and of the table that provides the context rows."""

import hashlib
from dataclasses import dataclass, replace

import streamlit as st

from dashboard import queries
from dashboard.formatting import no_two_alike, plain
from dashboard.url_state import MOST_BESIDE, chosen, first_few, gone, keep
from tabtune_core.data.datasets import Dataset
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.settings import RunSettings
from tabtune_core.store.uploaded_adapters import missing_base


@dataclass(frozen=True, slots=True)
class Candidate:
    """An adapter that can predict here."""

    id: str
    title: str
    settings: RunSettings
    table: str
    """Id of the table that it was trained on."""
    table_name: str
    here: bool
    """True if that table is in the workspace."""

    @property
    def group(self) -> str:
        """A key that adapters share if they predict the same; it is a hash, so that it can be part of an address."""
        one = self.settings
        what = (self.table, one.target, one.task, one.split_at_median, one.group_rare_classes)
        return hashlib.sha256("\n".join(map(str, what)).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Choice:
    """The adapters and the table that a person has chosen."""

    adapters: list[Candidate]
    table: Dataset
    """The table that provides the context rows."""
    facts: PackageFacts
    """Facts of the first adapter: columns, kinds, how rows are read."""
    base: bool

    @property
    def button(self) -> str:
        """Key of the Predict button: a press counts only for the adapters and the table that were shown."""
        return "_".join(["try_predict", self.table.id[:12], *(adapter.id for adapter in self.adapters)])


def candidates() -> dict[str, Candidate]:
    """Returns all adapters that can be tried: those of the newest sweep first, confirmed ones lead; then uploads."""
    tables = queries.tables()
    known: dict[str, Candidate] = {}
    runs = [run for run in reversed(queries.listed(None)) if run.result and run.result.adapter_verified]
    sweeps = list(dict.fromkeys(run.sweep for run in runs))
    confirmed = queries.confirmed(sweeps)
    for run in sorted(runs, key=lambda run: (sweeps.index(run.sweep), run.id not in confirmed)):
        if run.settings.dataset in tables:
            title, table = f"{run.name} · {run.settings.model}", run.settings.dataset
            known[run.id] = Candidate(run.id, title, run.settings, table, tables[table].name, True)
    for adapter in queries.uploads().values():
        if missing_base(adapter) is None:
            table, name = adapter.facts.table_id, adapter.facts.table_name
            known[adapter.id] = Candidate(adapter.id, adapter.name, adapter.settings, table, name, table in tables)
    titles = no_two_alike({name: candidate.group + candidate.title for name, candidate in known.items()})
    return {name: replace(one, title=titles[name].removeprefix(one.group)) for name, one in known.items()}


def choose_adapters(known: dict[str, Candidate]) -> Choice | None:
    """Draws the widgets and returns the choice, None while it is open; raises AdapterError for a bad package."""
    asked = [name for name in st.query_params.get("adapters", "").split(",") if name]
    if gone("adapter", list(known)) or not known.keys() >= set(asked):
        st.warning("An adapter that was chosen here, or its table, was deleted.", icon=":material/warning:")
    wanted = chosen("adapter", list(known), next((name for name in asked if name in known), next(iter(known))))
    groups: dict[str, list[str]] = {}
    for candidate in known.values():
        groups.setdefault(candidate.group, []).append(candidate.id)

    def title(group: str) -> str:
        first = known[groups[group][0]]
        table = f"{first.table_name}{' (not in this workspace)' * (not first.here)}"
        return f"{first.settings.target} · {table} · {first.settings.task}"

    left, right = st.columns([1, 1.4])
    titles, place = no_two_alike({group: title(group) for group in groups}), list(groups).index(known[wanted].group)
    words, key = titles.__getitem__, f"try_group_{wanted[:12]}"
    group = left.selectbox("What to predict", list(groups), place, format_func=words, key=key)
    with right:
        picked = _pick(groups[group], known, first_few(asked, groups[group]), wanted, f"try_adapters_{group}")
    if not picked:
        st.info("Choose at least one adapter.")
        return None
    first, uploads = known[picked[0]], queries.uploads()
    facts = uploads[first.id].facts if first.id in uploads else queries.facts(first.id)
    table = queries.tables()[first.table] if first.here else _other_table(facts)
    without = "Predictions of the pretrained model without an adapter."
    base = st.toggle("Also show the base model", value=True, key="try_base", help=without)
    return None if table is None else Choice([known[name] for name in picked], table, facts, base)


def _pick(ids: list[str], known: dict[str, Candidate], also: list[str], wanted: str, key: str) -> list[str]:
    """Draws the adapters that predict the same, and returns those that a person picked."""
    usual = also if wanted in also else [wanted if wanted in ids else ids[0]]
    picked = st.multiselect(
        "Adapters",
        ids,
        usual,
        format_func=lambda name: known[name].title,
        key=f"{key}_{wanted[:12]}",
        max_selections=MOST_BESIDE,
        placeholder="Choose one or more",
        help=f"Up to {MOST_BESIDE} side by side. Only verified adapters are listed.",
    )
    if picked:
        keep("adapter", picked[0])
        keep("adapters", ",".join(picked))
    return picked


def _other_table(facts: PackageFacts) -> Dataset | None:
    """Asks for a table of the workspace in place of the one that an uploaded adapter was trained on."""
    needed = {*facts.features, facts.settings.target}
    tables = queries.tables()
    fitting = {name: one for name, one in tables.items() if needed <= {column.name for column in one.columns}}
    if not fitting:
        add = f"Add {plain(facts.table_name)}, or a table with the same {len(needed):,} columns, on Data"
        st.warning(f"{add}: the adapter predicts from rows with a known {plain(facts.settings.target)}.")
        return None
    words, help = queries.table_titles(fitting.values()), "The adapter's own table is not here, so scores will differ."
    name = st.selectbox("Table for the context", list(fitting), format_func=words.__getitem__, help=help)
    return fitting[name]
