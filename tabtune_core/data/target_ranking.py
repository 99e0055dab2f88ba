"""Which columns of a table are probably the one to predict: a score for each, from names, place and values.

Between a Table and the proposal in ``target``. In: columns, the table's name, names that cannot be predicted. Out: columns by score.
A score is a sum of the weights below, tuned on one half of the tables of
    ``tests/benchmarks/target_proposal.csv`` and counted on the other.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tabtune_core.data.findings import Column


def _split(words: str) -> list[str]:
    return words.split()


NAMED = "is a usual name for the column to predict"
TARGETS = frozenset(
    _split("""
    target label labels class classes outcome y response dependent ground truth ziel zielvariable zielgroesse klasse cible classe
    etiquette objetivo etiqueta clase resultado obiettivo bersaglio etichetta esito alvo rotulo doel doelvariabele uitkomst klass mal
    utfall cel klasa etykieta wynik hedef sinif etiket целевая цель метка класс результат 目标 标签 类别 结果 目标变量
    目的変数 ラベル クラス 結果 목표 타깃 레이블 라벨
    클래스 结局
    """)
)
"""Words that say "the column to predict" in themselves, without accents."""
EVENTS = frozenset(
    _split("""
    cultivar variety progression
    churn churned survived survive survival survives died dead death deceased default defaulted fraud fraudulent diagnosis attrition vote
    voted purchase purchased bought buy deny denied approved approval accepted acceptance admit admitted spam species status result
    rejected readmitted cancelled canceled converted conversion clicked subscribed released arrest arrested recidivism relapse exited win
    won winner creditability choice decision disease malignant event participation lfp callback kuendigung kundigung abwanderung gekundigt
    ausfall diagnose art verstorben uberlebt defaut diagnostic espece deces fuite impago diagnostico especie fallecido compra baja
    inadimplencia cancelou sobreviveu diagnosi specie acquisto abbandono soort opzegging отток диагноз вид 流失
    诊断 违约 离职 诊断结果 解約 診断 離職 이탈 진단
    """)
)
"""What happens to a row, or what it is: mostly classes."""
MEASURES = frozenset(
    _split("""
    price saleprice sales sale wage wages salary earnings cost costs charges mpg mileage quality rings rating score grade count counts cnt
    total rate demand consumption yield revenue profit tip claims medv strength amount visits trips days visitors spending expenditure
    crime mortality deaths birthweight bwt preis kaufpreis verkaufspreis umsatz absatz gehalt lohn kosten qualitat verbrauch note miete
    prix ventes salaire cout loyer qualite precio ventas salario coste costo calidad alquiler preco vendas custo qualidade prezzo vendite
    stipendio qualita prijs verkoop omzet loon cena sprzedaz pris fiyat satis цена продажи зарплата 价格 销量 销售额
    工资 房价 価格 売上 給料 가격 매출 판매량
    """)
)
"""What is measured, paid or counted at the end: numbers."""
FEATURES = frozenset(
    _split("""
    id no number code name rownames unnamed index age sex gender race ethnicity year month week weekday day date time hour minute season
    city country county region state province zip address latitude longitude lat lon long education educ married marital treat treatment
    trt group site center block subject patient firm alter geschlecht jahr monat stadt land edad sexo genero ano mes ciudad annee mois
    ville eta sesso anno mese citta leeftijd geslacht возраст пол год 年龄 性别 年齢 性別 나이 성별 income urban rural
    """)
)
"""What a row is known by before anything is predicted."""
MEASURE = 2.5
WORD_WEIGHTS = ((TARGETS | EVENTS, 5.0), (MEASURES, MEASURE), (FEATURES, -2.0))
PART = 0.5
"""Of a word's weight, where it is only part of the name."""
IN_TITLE = 3.5
FIRST, LAST = 2.5, 2.0
TWO_VALUES, MANY_WORDS = 1.0, -2.0
SERIES = -1.0
"""For a name that differs from two others or more in its digits alone, such as item_1, item_2, item_3."""
NEAR = 1.25
"""A column closer than this to the best is asked about and not passed over."""
SURE = 2.6
"""Below it a place alone speaks for the best."""
MOST_CLASSES, MOST_ASKED, LONG = 30, 3, 4


@dataclass(frozen=True, slots=True)
class Ranked:
    """A column and how likely it is the one to predict."""

    column: Column
    score: float
    reason: str
    """What speaks most for it, as the rest of a sentence about the column."""


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name in lower case, without accents and digits at their ends.

    >>> words_of("hr_Attrition.csv"), words_of("SalePrice2"), words_of("Qualität")
    (('hr', 'attrition', 'csv'), ('sale', 'price'), ('qualitat',))
    """
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", parts) if not unicodedata.combining(letter))
    return tuple(word.strip("0123456789") or word for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain).lower()))


def rank_targets(columns: Sequence[Column], title: str, useless: Collection[str]) -> list[Ranked]:
    """The columns that can be predicted, the likely one first; ``title`` is the name of the table or its file."""
    usable = [column for column in columns if column.name not in useless and column.kind not in ("date", "text", "ignored")]
    titled = in_title(usable, title)
    stems = Counter(re.sub(r"\d+", "#", column.name) for column in columns)
    ranked = []
    for column in usable:
        named = name_weight(column.name)
        place = LAST if column is usable[-1] else FIRST if column is usable[0] else 0.0
        parts = {
            f"holds {column.unique:,} different values": value_weight(column),
            NAMED: named,
            f"shares a word with the table's name, {title!r}": IN_TITLE if column.name in titled else 0.0,
            stands(column, usable, columns): place,
        }
        series = SERIES if stems[re.sub(r"\d+", "#", column.name)] > 2 else 0.0
        ranked.append(Ranked(column, sum(parts.values()) + series, max(parts, key=lambda part: parts[part])))
    return sorted(ranked, key=lambda candidate: -candidate.score)


def stands(column: Column, usable: Sequence[Column], columns: Sequence[Column]) -> str:
    """Its place in the table, where that is one end; "that fits" where other columns stand further out, such as an id."""
    if column is usable[-1]:
        return "is the last column" if column is columns[-1] else "is the last column that fits"
    return "is the first column" if column is columns[0] else "is the first column that fits"


def near_best(ranked: Sequence[Ranked]) -> list[Ranked]:
    """The best alone, or the best three where a second is so near that a person should decide."""
    asks = len(ranked) > 1 and (ranked[1].score > ranked[0].score - NEAR or ranked[0].score < SURE)
    return [*ranked[: MOST_ASKED if asks else 1]]


def name_weight(name: str) -> float:
    """What the words of a name say: the whole name in full, a part of it in part; the strongest of them."""
    words = words_of(name)
    whole = "".join(words)
    weights = [weight if whole in known else weight * PART for known, weight in WORD_WEIGHTS if whole in known or known & set(words)]
    if any(word.endswith(end) for word in words for end in MEASURES if len(end) > LONG):
        weights.append(MEASURE * PART)
    return max(weights, key=abs, default=0.0)


def in_title(columns: Iterable[Column], title: str) -> set[str]:
    """Columns that share a word with the table's name; none where more than two do, as then the word tells nothing."""
    of_title = [word for word in words_of(title.rsplit(".", 1)[0]) if len(word) > 2]
    matching = {
        column.name
        for column in columns
        for word in words_of(column.name)
        if len(word) > 2 and any(word == other or (min(len(word), len(other)) > 3 and _starts(word, other)) for other in of_title)
    }
    return matching if len(matching) <= 2 else set()


def _starts(word: str, other: str) -> bool:
    return word.startswith(other) or other.startswith(word) or word.rstrip("s") == other.rstrip("s")


def value_weight(column: Column) -> float:
    """What the number of different values says."""
    if column.unique == 2:
        return TWO_VALUES
    return MANY_WORDS if column.kind != "number" and column.unique > MOST_CLASSES else 0.0
