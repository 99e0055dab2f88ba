"""The Guide page: what LoRA is, how to choose its settings, and the glossary."""

from pathlib import Path

import streamlit as st

from dashboard.components.glossary import TERMS

st.title("Guide")
asked = "Glossary" if st.query_params.get("tab") == "glossary" else None
what, words = st.tabs(["What LoRA is", "Glossary"], default=asked)
what.markdown(Path(__file__).with_name("guide.md").read_text(encoding="utf-8"))
words.markdown("\n\n".join(f"**{term}**  \n{text}" for term, text in TERMS.items()))
