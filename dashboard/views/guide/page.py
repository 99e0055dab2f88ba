"""What LoRA is, how to choose its settings, and which rules of thumb were found to hold."""

import streamlit as st

from dashboard.views.guide import guide_sections

st.title("Guide")
guide_sections.first_visit()
what, how, held, wrong = st.tabs(["What LoRA is", "How to choose", "What was found to hold", "When something goes wrong"])
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
