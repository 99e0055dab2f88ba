"""Columns whose cells stay words: booleans, categories, text.

Part of the fourth step of reading, and the home of what all its rules return.
"""

from dataclasses import dataclass

from tabtune_core.data.findings import Finding, Kind, Question
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted

FEW_VALUES = 20
CATEGORY_SHARE = 0.25
"""Different words, of the filled cells: a category's come four times each or more, taken together."""
BOOLEAN_WORDS = (frozenset({"true", "false"}), frozenset({"yes", "no"}), frozenset({"t", "f"}), frozenset({"y", "n"}))


MISSING_WORDS = (
    *("none", "unknown", "missing", "not available", "not known", "not specified", "unspecified", "undefined", "no data", "no answer"),
    *("unbekannt", "keine angabe", "k.a", "inconnu", "non renseigné", "desconocido", "sconosciuto", "desconhecido", "未知", "不明"),
)
"""Words that may mean a missing value, without a full stop at their end. They are asked about, never read as missing by themselves."""
MISSING_WORD = f"(rtrim(lower(cell), '.') IN ({', '.join(map(quoted, MISSING_WORDS))}))"


@dataclass(frozen=True, slots=True)
class Typed:
    """The kind of a column, and how its cells become values."""

    kind: Kind
    value: str
    """SQL over ``cell``."""

    findings: tuple[Finding, ...] = ()
    questions: tuple[Question, ...] = ()
    examples: tuple[str, ...] = ()
    """Up to three different cells from the first rows, in the order of the file."""

    day_first: bool | None = None
    """Whether its dates were read day first; None where they cannot be read both ways, or it holds none."""

    unit: str | None = None
    """That stands behind its numbers."""

    decimal_comma: bool | None = None
    """Whether the comma in its numbers is a decimal one, rather than between thousands; None where none was found."""


def as_words() -> Asking[Typed]:
    """Boolean for two words that say yes and no, category for few different values or for many that recur, text for others."""
    filled, unique = yield Ask(("count(cell)", "count(DISTINCT cell)"))
    if unique == 2:
        (words,) = yield Ask(("list(DISTINCT lower(cell)) FILTER (WHERE cell IS NOT NULL)",))
        if frozenset(words) in BOOLEAN_WORDS:
            return Typed("boolean", "cell")
    return Typed("category" if unique <= max(FEW_VALUES, filled * CATEGORY_SHARE) else "text", "cell")
