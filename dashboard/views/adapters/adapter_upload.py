"""Uploaded adapters: adding, checking, showing and deleting them."""

import streamlit as st

from dashboard import queries
from dashboard.components import figure
from dashboard.components.unreadable import errors_shown
from dashboard.formatting import megabytes, plain
from dashboard.url_state import choose, forget, go
from tabtune_core.access import may_fetch
from tabtune_core.errors import TabTuneError
from tabtune_core.lora.hub import read_public
from tabtune_core.store.uploaded_adapters import LIMIT_BYTES, StoredAdapter, missing_base
from tabtune_core.wording import counted


def add() -> None:
    """Draws the uploader and, if the server may download, a field for an address; no code in a file is run."""
    number = st.session_state.setdefault("adapter_uploads", 0)
    key, help = f"adapter_upload_{number}", "From the Adapters page of another machine. No code in it is executed."
    most = LIMIT_BYTES // 1_000_000
    file = st.file_uploader("Adapter package (zip)", type=["zip"], key=key, max_upload_size=most, help=help)
    name = file.name if file is not None else ""
    if may_fetch():
        address = st.text_input("Or an address", key=f"adapter_address_{number}", placeholder="hf://owner/name").strip()
        name = address if st.button("Fetch the adapter", icon=":material/download:") else name
    if name:
        st.session_state["adapter_uploads"] = number + 1  # replaced after each file, which frees the file's memory
        st.session_state.pop("adapter_error", None)
        try:
            with st.spinner(f"Adding {plain(name)}"):
                adapter = queries.keep_upload(read_public(name) if file is None else file.getvalue(), name)
        except TabTuneError as error:
            st.session_state["adapter_error"] = f"{name} was not added. {error}"
        else:
            choose("run", adapter.id)
        st.rerun()
    if "adapter_error" in st.session_state:
        st.error(plain(st.session_state["adapter_error"]))


def details(adapter: StoredAdapter) -> None:
    """Draws an uploaded adapter: facts, whether its base model is here, and its buttons."""
    settings, facts = adapter.settings, adapter.facts
    missing = missing_base(adapter)
    if missing is None:
        st.badge("its base model is here", help="With the same SHA-256.", icon=":material/verified:", color="green")
    else:
        st.badge("its base model is not here", icon=":material/error:", color="orange")
        st.warning(plain(missing))
    with st.container(horizontal=True):
        figure("Package", megabytes(adapter.size_bytes))
        figure("Rank", settings.lora.rank)
        figure("Layers", len(facts.layers))
        figure("Classes", len(facts.classes) or "numbers")
    what = f"**{plain(settings.target)}** from {counted(len(facts.features), 'column')}"
    table = f"{plain(facts.table_name)} ({facts.table_rows:,} rows)"
    st.markdown(f"Predicts {what}, trained on {table} with {plain(settings.model)}.")
    if facts.table_id not in queries.tables():
        st.caption("Its table is not here: another one with the same columns can give the context, with other scores.")
    with st.container(horizontal=True):
        if st.button("Try it", type="primary", icon=":material/play_arrow:", disabled=missing is not None):
            go("views/try_it/page.py", adapter=adapter.id)
        with st.popover("Delete", icon=":material/delete:"):
            st.caption(f"Frees {megabytes(adapter.size_bytes)}; your own file stays.")
            if st.button("Delete this adapter", key=f"delete_{adapter.id[:12]}"):
                with errors_shown(TabTuneError):  # a job uses it, or another tab was faster
                    queries.delete_upload(adapter.id)
                    forget("run")
                    st.rerun()
