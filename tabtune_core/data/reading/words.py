"""Types columns whose cells stay words: booleans, categories, text.

Part of the fourth step of reading. Also defines ``Typed``, the result of every rule of this step.
"""

from dataclasses import dataclass

from tabtune_core.data.findings import DateOrder, Finding, Kind, Question
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted

FEW_VALUES = 20
CATEGORY_SHARE = 0.25
"""Most different words of a category, as a share of the filled cells: on average each occurs four times or more."""
BOOLEAN_WORDS = (frozenset({"true", "false"}), frozenset({"yes", "no"}), frozenset({"t", "f"}), frozenset({"y", "n"}))
MISSING_WORDS = (
    "na|n[.]a|n/d|nan|null|none|unknown|missing|blank|undefined|unspecified|don't know|prefer not to say|"
    "no (data|answer|response)|not (available|applicable|known|specified|reported|recorded|stated)"
)
NO_WORD = r"[–—−…·/\\_.?]{1,5}|-{2,5}|#[a-z/0]+[!?]"  # noqa: RUF001
"""Cells without a letter that may mean missing, and the errors of spreadsheets."""
MISSING_WORD = f"""(regexp_full_match(lower(cell), {quoted(rf"[(<[]?({MISSING_WORDS})[]>)]?[.]*|{NO_WORD}")}))"""
"""SQL for a cell that may mean missing: the person is asked, it is never read so unasked."""


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
    day_first: DateOrder | None = None
    """In which order its dates were read; None for other columns and for dates without that choice."""
    unit: str | None = None
    """The currency, percent sign or unit beside its numbers; "s" for durations."""
    decimal_comma: bool | None = None
    """Whether the comma in its numbers is a decimal comma, not one between thousands; None if there is no comma."""
    pointed: str = ""
    """One of its numbers with a point that may separate thousands; empty where none may."""
    marks: tuple[str, ...] = ()
    """Few words among numbers or dates, which may mean missing."""


def as_words() -> Asking[Typed]:
    """Types a column as boolean (two words for yes and no), category (few words, or many that recur) or text."""
    filled, unique = yield Ask(("count(cell)", "count(DISTINCT cell)"))
    if unique == 2:
        (words,) = yield Ask(("list(DISTINCT lower(cell)) FILTER (WHERE cell IS NOT NULL)",))
        if frozenset(words) in BOOLEAN_WORDS:
            return Typed("boolean", "cell")
    return Typed("category" if unique <= max(FEW_VALUES, filled * CATEGORY_SHARE) else "text", "cell")
