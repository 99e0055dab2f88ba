"""A part of the README that a benchmark writes, between two comments that name it."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def write_block(name: str, text: str, path: Path = README) -> None:
    """Replaces what stands between ``<!-- name:begin -->`` and ``<!-- name:end -->``.

    Raises:
        ValueError: the file has no such comments.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    content, found = re.subn(f"(?s){begin}.*?{end}", lambda match: f"{begin}\n{text.strip()}\n{end}", path.read_text())
    if found != 1:
        raise ValueError(f"{path} must have {begin} and {end} once; they were found {found} times.")
    path.write_text(content)


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, the first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
