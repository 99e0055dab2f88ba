"""Reports the cells of a column of numbers or dates that cannot be read as such; if there are too many, the column
holds words.
"""

from collections.abc import Sequence

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking
from tabtune_core.data.reading.words import Typed, as_words

STRAY_SHARE = 0.1
STRAY_TEXT = 0.25
"""Largest share of words for which free text that is mostly numbers is reported: no model sees it unless it is read in
another way.
"""
STRAY_WORDS = 3
BAD_SHARE = 0.02
"""Largest share of the filled cells of a number column that are not numbers: so few are slips, unless they look like
codes.
"""


def unread_words(wrong: str) -> Asking[list[str]]:
    """Returns the different cells for which the SQL ``wrong`` holds, the most frequent first."""
    (times,) = yield Ask((f"histogram(cell) FILTER {wrong}",))
    return sorted(times, key=lambda word: (-times[word], word))


def bad_cells_finding(name: str, bad: Sequence[str], unread: int, filled: int, *, what: str = "numbers") -> Finding:
    """Reports the cells of a column of numbers, or of other ``what``, that cannot be read as such."""
    shown = ", ".join(repr(shorten(word)) for word in bad[:STRAY_WORDS]) + (", ..." if len(bad) > STRAY_WORDS else "")
    cells = "1 other cell became" if unread == 1 else f"{unread:,} other cells became"
    message = f"{name!r} holds {what} in {filled - unread:,} of {filled:,} cells; {cells} missing: {shown}. "
    return Finding(
        "warning", "bad-cells", f"{message}Correct the file, or choose category under Columns, if they matter.", name
    )


def stray_words(
    name: str, unread: int, filled: int, wrong: str, *, what: str = "number", most: float = STRAY_SHARE
) -> Asking[Typed]:
    """Types a column as words; if all but a few cells, up to the share ``most``, are numbers or dates, asks whether
    these mean missing.
    """
    kind = (yield from as_words()).kind
    if unread > filled * most or unread == filled:
        return Typed(kind, "cell")
    words = tuple((yield from unread_words(wrong)))
    if len(words) > STRAY_WORDS or any(shorten(word) != word for word in words):
        told = (
            f"{name!r} holds {what}s in {filled - unread:,} cells and other text in {unread:,}, such as "
            f"{shorten(words[0])!r}"
        )
        message = f"{told}; it is read as {kind}. Choose {what} under Columns if the others may become missing."
        told_share = STRAY_TEXT if kind == "text" else STRAY_SHARE
        return Typed(
            kind, "cell", (Finding("info", f"mixed-{what}s", message, name),) if unread <= filled * told_share else ()
        )
    shown = ", ".join(repr(word) for word in words)
    message = f"{name!r} holds {what}s in {filled - unread:,} cells and {shown} in {unread:,}; it is read as {kind}."
    offer = f"{message} If these words mean missing, say so and the column becomes a {what}."
    question = Question(f"mixed-{what}s", offer, "missing_marks", words)
    return Typed(kind, "cell", (Finding("warning", f"mixed-{what}s", message, name),), (question,))
