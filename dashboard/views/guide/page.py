"""The Guide page: what LoRA is, how to choose its settings, and which rules of thumb hold."""

import streamlit as st

from dashboard.components.glossary import TERMS
from dashboard.views.guide import guide_sections

st.title("Guide")
guide_sections.first_visit()
names = [
    "What LoRA is",
    "How to choose",
    "Rules of thumb, checked",
    "When something goes wrong",
    "This machine",
    "Glossary",
]
asked = {"glossary": "Glossary", "machine": "This machine"}.get(st.query_params.get("tab", ""))
what, how, held, wrong, machine, words = st.tabs(names, default=asked)
with what:
    guide_sections.idea()
    guide_sections.layer()
    guide_sections.scaling_and_dropout()
with how:
    guide_sections.choosing()
with held:
    guide_sections.found()
with wrong:
    guide_sections.troubles()
with machine:
    guide_sections.this_machine()
with words:
    st.markdown("\n\n".join(f"**{term}**  \n{text}" for term, text in TERMS.items()))
