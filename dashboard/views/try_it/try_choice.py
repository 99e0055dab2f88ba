"""The choice of adapters for one table and target, and of the table that provides the context rows."""

import hashlib
from dataclasses import dataclass, replace

import streamlit as st

from dashboard import queries
from dashboard.formatting import no_two_alike, plain
from dashboard.url_state import MOST_BESIDE, chosen, first_few, gone, keep
from tabtune_core.analysis.context_rows import sizes_up_to
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
        settings = self.settings
        what = (
            self.table,
            settings.target,
            settings.task,
            str(settings.split_at_median),
            str(settings.group_rare_classes),
        )
        return hashlib.sha256("\n".join(what).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Choice:
    """The adapters and the table that a person has chosen."""

    adapters: list[Candidate]
    table: Dataset
    """The table that provides the context rows."""
    facts: PackageFacts
    """Facts of the first adapter: columns, kinds, how rows are read."""
    base: bool
    context_rows: int | None = None
    """Most context rows; None: as many as each adapter's run."""

    @property
    def button(self) -> str:
        """Key of the Predict button: a press counts only for the adapters and the table that were shown."""
        return "_".join(["try_predict", self.table.id[:12], *(adapter.id for adapter in self.adapters)])


def candidates() -> dict[str, Candidate]:
    """Returns all adapters that can be tried, newest first: verified ones of runs, and uploads."""
    tables = queries.tables()
    found: dict[str, Candidate] = {}
    for run in reversed(queries.listed(None)):
        if run.result and run.result.adapter_verified and run.settings.dataset in tables:
            title, table = f"{run.name} · {run.settings.model}", run.settings.dataset
            found[run.id] = Candidate(run.id, title, run.settings, table, tables[table].name, True)
    for adapter in queries.uploads().values():
        if missing_base(adapter) is None:
            table, name = adapter.facts.table_id, adapter.facts.table_name
            found[adapter.id] = Candidate(adapter.id, adapter.name, adapter.settings, table, name, table in tables)
    titles = no_two_alike({name: candidate.group + candidate.title for name, candidate in found.items()})
    return {
        name: replace(candidate, title=titles[name].removeprefix(candidate.group)) for name, candidate in found.items()
    }


def choose_adapters(found: dict[str, Candidate]) -> Choice | None:
    """Draws the widgets and returns the choice, None while it is open; raises AdapterError for a bad package."""
    asked = [name for name in st.query_params.get("adapters", "").split(",") if name]
    if gone("adapter", list(found)) or not found.keys() >= set(asked):
        st.warning(
            "An adapter that was chosen here cannot be tried any more: it or its table was deleted. Check the "
            "present choice.",
            icon=":material/warning:",
        )
    wanted = chosen("adapter", list(found), next((name for name in asked if name in found), next(iter(found))))
    groups: dict[str, list[str]] = {}
    for candidate in found.values():
        groups.setdefault(candidate.group, []).append(candidate.id)

    def title(group: str) -> str:
        first = found[groups[group][0]]
        return (
            f"{first.settings.target} · {first.table_name}{'' if first.here else ' (not in this workspace)'} · "
            f"{first.settings.task}"
        )

    left, right = st.columns([1, 1.4])
    titles, place = no_two_alike({group: title(group) for group in groups}), list(groups).index(found[wanted].group)
    group = left.selectbox(
        "What to predict", list(groups), place, format_func=titles.__getitem__, key=f"try_group_{wanted[:12]}"
    )
    ids = groups[group]
    also = first_few(asked, ids)
    picked = right.multiselect(
        "Adapters",
        ids,
        also if wanted in also else [wanted if wanted in ids else ids[0]],
        format_func=lambda name: found[name].title,
        key=f"try_adapters_{group}_{wanted[:12]}",
        max_selections=MOST_BESIDE,
        placeholder="Choose one or more",
        help=f"Up to {MOST_BESIDE} side by side. Only verified adapters are listed.",
    )
    if not picked:
        st.info("Choose at least one adapter.")
        return None
    keep("adapter", picked[0])
    keep("adapters", ",".join(picked))
    first, uploads = found[picked[0]], queries.uploads()
    facts = uploads[first.id].facts if first.id in uploads else queries.facts(first.id)
    table = queries.tables()[first.table] if first.here else _other_table(facts)
    with st.container(horizontal=True, vertical_alignment="center", gap="large"):
        base = st.toggle(
            "Also show the base model",
            value=True,
            key="try_base",
            help="Predictions of the pretrained model without an adapter.",
            width="content",
        )
        context_rows = _ask_context_rows(facts, group)
    return None if table is None else Choice([found[name] for name in picked], table, facts, base, context_rows)


def _ask_context_rows(facts: PackageFacts, group: str) -> int | None:
    """Asks for the number of context rows; None is the default."""
    usual = len(facts.context_rows)
    sizes = sizes_up_to(usual, classes=len(facts.classes))
    if len(sizes) < 2:
        return None
    rows = st.select_slider(
        "Context rows",
        sizes,
        usual,
        key=f"try_context_{group}_{usual}",
        format_func=lambda rows: f"{rows:,} (default)" if rows == usual else f"{rows:,}",
        width=320,
        help="The labelled rows that predictions are made from: by default those of the run, else a sample.",
    )
    return None if rows == usual else rows


def _other_table(facts: PackageFacts) -> Dataset | None:
    """Asks for a table of the workspace in place of the one that an uploaded adapter was trained on."""
    needed = {*facts.features, facts.settings.target}
    fitting = {
        name: table for name, table in queries.tables().items() if needed <= {column.name for column in table.columns}
    }
    if not fitting:
        st.warning(
            f"An adapter predicts from context rows with a known {plain(facts.settings.target)}, but the package "
            "holds no rows. "
            f"Add {plain(facts.table_name)} on the Data page, or another table with the same {len(needed):,} columns."
        )
        return None
    name = st.selectbox(
        "Table for the context",
        list(fitting),
        format_func=queries.table_titles(fitting.values()).__getitem__,
        help="The model predicts from context rows with known labels. The adapter's own table is not here, so the "
        "scores will differ.",
    )
    return fitting[name]
