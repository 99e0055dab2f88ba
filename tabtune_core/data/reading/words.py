"""Types columns whose cells stay words: booleans, categories, text.

Part of the fourth step of reading. Also defines ``Typed``, the result of every rule of this step.
"""

from dataclasses import dataclass

from tabtune_core.data.findings import DateOrder, Finding, Kind, Question
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted

FEW_VALUES = 20
CATEGORY_SHARE = 0.25
"""Most different words of a category, as a share of the filled cells: on average each word occurs four times or more.
"""
BOOLEAN_WORDS = (frozenset({"true", "false"}), frozenset({"yes", "no"}), frozenset({"t", "f"}), frozenset({"y", "n"}))
MISSING_WORDS = (
    "na|n[.]a|nan|null|none|unknown|missing|blank|undefined|unspecified|don't know|prefer not to say|no "
    "(data|answer|response)|"
    "not (available|applicable|known|specified|reported|recorded|stated)|unbekannt|keine "
    "(angabe|antwort|daten)|k[.]a|onbekend|"
    "geen antwoord|inconnue?|non renseigné|sans réponse|ne sait pas|desconocido|sin "
    "(datos?|respuesta)|s/d|n[./]d|desconhecido|"
    "ignorado|não informado|sem resposta|sconosciuto|non disponibile|brak danych|нет данных|неизвестно|не указано|"
    "未知|不明|未填写|暂无|無回答|未回答|데이터 없음|무응답"
)
"""Words that may mean a missing value, as a regular expression.

The person is asked; they are never read as missing unasked.
"""
NO_WORD = r"[–—−…·/\\_.?]{1,5}|-{2,5}|#[a-z/0]+[!?]"  # noqa: RUF001
"""The same of cells without a letter, and of the errors of spreadsheets."""
MISSING_WORD = f"""(regexp_full_match(lower(cell), {quoted(rf"[(<[]?({MISSING_WORDS})[]>)]?[.]*|{NO_WORD}")}))"""


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
    """The unit after its numbers."""
    decimal_comma: bool | None = None
    """Whether the comma in its numbers is a decimal comma, not one between thousands; None if there is no comma."""


def as_words() -> Asking[Typed]:
    """Types a column as boolean (two words for yes and no), category (few different values, or many that recur) or
    text.
    """
    filled, unique = yield Ask(("count(cell)", "count(DISTINCT cell)"))
    if unique == 2:
        (words,) = yield Ask(("list(DISTINCT lower(cell)) FILTER (WHERE cell IS NOT NULL)",))
        if frozenset(words) in BOOLEAN_WORDS:
            return Typed("boolean", "cell")
    return Typed("category" if unique <= max(FEW_VALUES, filled * CATEGORY_SHARE) else "text", "cell")
