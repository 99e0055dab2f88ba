"""A part of the documentation that a benchmark writes, between two comments that name it."""

from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs" / "pages" / "measurements"


def write_block(name: str, text: str, pages: Path = PAGES) -> None:
    """Replaces what stands between ``<!-- name:begin -->`` and ``<!-- name:end -->`` on the one page that has them.

    Raises:
        ValueError: no page has such comments, or several have.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    found = [path for path in sorted(pages.glob("*.md")) for _ in range(path.read_text().count(begin))]
    if len(found) != 1:
        raise ValueError(f"One page of {pages} must have {begin} and {end} once; {len(found)} were found.")
    before, rest = found[0].read_text().split(begin)
    found[0].write_text(f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, the first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
