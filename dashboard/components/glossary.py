"""The product's terms: the Guide page and the documentation list all, other pages explain those that they use."""

import re
from pathlib import Path

_PAGE = Path(__file__).with_name("glossary.md").read_text(encoding="utf-8")
TERMS = dict(re.findall(r"^\*\*(.+?)\*\*: (.+)$", _PAGE, re.MULTILINE))
"""Term to definition, in Markdown, in the order of ``glossary.md`` beside this file (alphabetical)."""


def define(*terms: str) -> str:
    """Returns the help text that explains ``terms``, with a link to all of them."""
    return "\n\n".join([*(f"**{term}**: {TERMS[term]}" for term in terms), "[All terms](guide?tab=glossary)"])
