"""The terms of the product: the Guide page and the documentation list them, the other pages explain those that they use."""

import re
from pathlib import Path

TERMS = dict(re.findall(r"^\*\*(.+?)\*\*: (.+)$", Path(__file__).with_name("glossary.md").read_text(encoding="utf-8"), re.MULTILINE))
"""Term to definition, in Markdown, in alphabetical order, as ``glossary.md`` beside this file has them."""


def define(*terms: str) -> str:
    """The help text that explains ``terms``, with a link to all of them."""
    return "\n\n".join([*(f"**{term}**: {TERMS[term]}" for term in terms), "[All terms](guide?tab=glossary)"])
