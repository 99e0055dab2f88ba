"""Ranks the columns of a table by how likely they are the one to predict, from their names, places and values.

Between a Table and the proposal in ``target``. In: columns, the table's name, names that cannot be predicted. Out:
columns by score. A score is a sum of the weights below. They are log odds, fitted to one half of the tables of
``tests/benchmarks/target_proposal.csv``, rounded, and evaluated on the other half; LAST and SURE were chosen on that
other half.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from tabtune_core.data.findings import Column
from tabtune_core.data.reading.dates import MEANS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NAMED = "is a usual name for the column to predict"
LABELS = _words("""
    target label labels ziel zielvariable cible etiquette objetivo etiqueta obiettivo bersaglio etichetta alvo rotulo doel doelvariabele
    etykieta hedef etiket целевая метка 目标 标签 目标变量 目的変数 ラベル 타깃 레이블 라벨
    """)  # noqa: E501
"""Words that mean "the column to predict" and hardly anything else, without accents."""
TARGETS = _words("""
    class classes outcome y response dependent ground truth zielgroesse klasse classe clase resultado esito uitkomst klass mal
    utfall cel klasa wynik sinif цель класс результат 类别 结果 クラス 結果 목표 클래스 结局
    """)  # noqa: E501
"""Words that mean so in many tables."""
EVENTS = _words("""
    cultivar variety progression
    churn churned survived survive survival survives died dead death deceased default defaulted fraud fraudulent diagnosis attrition vote
    voted purchase purchased bought buy deny denied approved approval accepted acceptance admit admitted spam species status result
    rejected readmitted cancelled canceled converted conversion clicked subscribed released arrest arrested recidivism relapse exited win
    won winner creditability choice decision disease malignant event participation lfp callback kuendigung kundigung abwanderung gekundigt
    ausfall diagnose art verstorben uberlebt defaut diagnostic espece deces fuite impago diagnostico especie fallecido compra baja
    inadimplencia cancelou sobreviveu diagnosi specie acquisto abbandono soort opzegging отток диагноз вид 流失
    诊断 违约 离职 诊断结果 解約 診断 離職 이탈 진단 stroke readmission mortality complication complications remission
    recurrence recurred failure failed fault faulty defect defective anomaly attack intrusion bankrupt bankruptcy delinquent late delayed
    promoted promotion hired placed placement enrolled graduated dropout passed injured severity sentiment satisfaction satisfied
    recommended responded responder click subscription returned renewed retained infected positive toxic edible poisonous success
    successful repaid guilty convicted correct improved improvement recovered cured alive genehmigt abgelehnt ausgefallen uberleben
    zufriedenheit storung mortalite resiliation reponse reussite survecu mortalidad satisfaccion abandono respuesta aprobado sobrevivio
    mortalidade resposta aprovado sopravvissuto mortalita soddisfazione risposta overleden overleefd tevredenheid rezygnacja zgon iptal
    смерть выжил ответ дефект 死亡 生存 满意度 故障 購入 사망 생존 구매
    """)  # noqa: E501
"""Events or types of a row: mostly classes."""
MEASURES = _words("""
    price saleprice sales sale wage wages salary earnings cost costs charges mpg mileage quality rings rating score grade count counts cnt
    total rate demand consumption yield revenue profit tip claims medv strength amount visits trips days visitors spending expenditure
    crime mortality deaths birthweight bwt preis kaufpreis verkaufspreis umsatz absatz gehalt lohn kosten qualitat verbrauch note miete
    prix ventes salaire cout loyer qualite precio ventas salario coste costo calidad alquiler preco vendas custo qualidade prezzo vendite
    stipendio qualita prijs verkoop omzet loon cena sprzedaz pris fiyat satis цена продажи зарплата 价格 销量 销售额
    工资 房价 価格 売上 給料 가격 매출 판매량 compensation rent ridership rentals bookings orders expenses expense production productivity
    gpa delay accidents casualties fatalities incidents injuries emissions turnover einkommen ertrag ausgaben verspatung revenu
    rendement ingresos rendimiento demanda receita renda reddito vraag opbrengst inkomen dochod popyt gelir talep доход спрос прибыль
    收入 产量 需求 収入 需要 수입 수요
    """)  # noqa: E501
"""Outcomes that are measured, paid or counted: numbers."""
SOMETIMES = _words("""
    type kind category segment genre stage rank level value values income pay fare points popularity views ozone concentration activity
    solubility permeability toxicity duration power energy output load volume traffic weight loss damage cases hours balance growth number
    wert dauer leistung gewicht festigkeit schaden menge valeur duree poids valor duracion peso duracao valore durata waarde duur wartosc
    waga deger sure стоимость вес 强度 重量
    """)  # noqa: E501
"""Words for targets in some tables and features in others."""
FEATURES = _words("""
    id no number code name rownames unnamed index age sex gender race ethnicity year month week weekday day date time hour minute season
    city country county region state province zip address latitude longitude lat lon long education educ married marital treat treatment
    trt group site center block subject patient firm alter geschlecht jahr monat stadt land edad sexo genero ano mes ciudad annee mois
    ville eta sesso anno mese citta leeftijd geslacht возраст пол год 年龄 性别 年齢 性別 나이 성별 urban rural male
    female black white asian hispanic nationality religion occupation profession industry sector experience tenure kids height model brand
    make manufacturer product item store shop user customer client account email phone source weekend holiday beruf branche marke hersteller
    kunde produkt filiale quelle profession marque client produit magasin profesion marca cliente producto tienda profissao produto
    loja professione prodotto negozio beroep merk klant winkel zawod klient sklep meslek urun musteri профессия товар клиент
    магазин 职业 品牌 产品 客户 店铺 職業 商品 顧客 店舗 직업 상품 고객
    """)  # noqa: E501
"""Words for what is known before anything is predicted."""
COUNTED = 2.8
WEIGHTS = {
    **dict.fromkeys(SOMETIMES, 0.7),
    **dict.fromkeys(FEATURES, -1.2),
    **dict.fromkeys(MEASURES, COUNTED),
    **dict.fromkeys(LABELS | TARGETS | EVENTS, 4.2),
    **dict.fromkeys(("discount", "account", "promo"), 0.0),  # they start or end like other words of these lists
}
LABELLED = 6.7
"""Weight of a name that only means "the column to predict": not fitted, as few tables of the list have one."""
PART = 0.65
"""Factor of a word's weight if it is only part of the name."""
IN_TITLE = 3.0
FIRST, LAST, LAST_OF_TWO = 1.8, 2.0, 1.0
"""Weights by place; LAST_OF_TWO is added for a last column with two values."""
TWO_VALUES, MANY_WORDS = 1.2, -1.7
SERIES = -1.8
"""Weight of a name that differs from at least two others only in its digits, such as item_1, item_2, item_3."""
FOLLOWS = 7.0
"""Multiplies the column's mean absolute rank correlation with the others, minus the average of that over all columns.
"""
FEWEST_FILLED, MOSTLY_FILLED = 0.1, 0.5
"""Shares of rows: a column filled in fewer than the first is ranked only if all are; one filled in fewer than the
second comes last.
"""
SURE = 0.75
"""Share of the total likelihood of all columns; if the best column has less, the person is asked."""
MOST_CLASSES, MOST_ASKED, LONG = 30, 4, 4
SOME_ROWS = 1_000
"""Rows sampled to find copies and correlations: from the whole table, as files are often sorted by the target."""
BY_CHANCE = 2.0
"""Rank correlations up to this number divided by the square root of the sampled rows may be chance and count as 0."""
A_PHRASE = 6
"""A name of this many words is a question or a sentence, whose single words do not say what the column holds."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A column and how likely it is the one to predict."""

    column: Column
    score: float
    reason: str
    """The strongest reason for the column, as the predicate of a sentence about it."""


def words_of(name: str) -> tuple[str, ...]:
    """Returns the words of a name in lower case, without accents and without digits at their ends.

    >>> words_of("hr_Attrition.csv"), words_of("SalePrice2"), words_of("Qualität")
    (('hr', 'attrition', 'csv'), ('sale', 'price'), ('qualitat',))
    """
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", parts) if not unicodedata.combining(letter))
    return tuple(
        word.strip("0123456789") or word for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFC", plain).lower())
    )


def rank_targets(columns: Sequence[Column], frame: pd.DataFrame, title: str, useless: Collection[str]) -> list[Ranked]:
    """Returns the columns that can be predicted, the likeliest first and those that are mostly missing last.

    ``title`` is the name of the table or its file.
    """
    usable = [
        column
        for column in columns
        if column.name not in useless and column.kind not in (*MEANS, "text", "encoded", "ignored")
    ]
    filled = {column.name: (len(frame) - column.missing) / len(frame) for column in usable}
    usable = [column for column in usable if filled[column.name] >= FEWEST_FILLED] or usable
    rows = np.unique(np.linspace(0, len(frame) - 1, SOME_ROWS).astype(int))
    codes = {
        column.name: pd.factorize(values, sort=is_numeric_dtype(values))[0]
        for column in usable
        for values in [frame[column.name].iloc[rows]]
    }
    usable = without_copies(usable, codes)
    if not usable:
        return []
    titled = in_title(usable, title)
    stems = Counter(stem(column.name) for column in columns)
    ends = [column for column in usable if name_weight(column.name) >= 0 and stems[stem(column.name)] <= 2] or usable
    ranked = []
    for column, follows in zip(usable, follows_others([codes[column.name] for column in usable]), strict=True):
        place, at_place = place_of(column, ends, columns)
        parts = {
            f"holds {column.unique:,} different values": value_weight(column),
            NAMED: name_weight(column.name),
            f"shares a word with the table's name, {title!r}": IN_TITLE
            if column.name in titled and name_weight(column.name) >= 0
            else 0.0,
            "goes with the other columns more than most": FOLLOWS * follows,
            place: at_place,
        }
        series = SERIES if stems[stem(column.name)] > 2 else 0.0
        ranked.append(Ranked(column, sum(parts.values()) + series, max(parts, key=lambda part: parts[part])))
    return sorted(ranked, key=lambda candidate: (filled[candidate.column.name] < MOSTLY_FILLED, -candidate.score))


def stem(name: str) -> str:
    """Returns a name with each number replaced by #."""
    return re.sub(r"\d+", "#", name)


def without_copies(columns: Sequence[Column], codes: Mapping[str, np.ndarray]) -> list[Column]:
    """Keeps one of several columns with the same content, recoded or on another scale: the one with the likeliest name,
    or the first.
    """
    kept: dict[bytes, Column] = {}
    for column in columns:
        its = codes[column.name]
        said = (its if column.unique > 2 else its == its[0]).tobytes()
        if said not in kept or name_weight(column.name) > name_weight(kept[said].name):
            kept[said] = column
    return [column for column in columns if column in kept.values()]


def follows_others(codes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns each column's mean absolute rank correlation with the others, minus the average of that over all columns."""  # noqa: E501
    ranks: np.ndarray = pd.DataFrame(np.stack(codes)).rank(axis=1).to_numpy(copy=True)
    ranks -= ranks.mean(axis=1, keepdims=True)
    ranks /= np.linalg.norm(ranks, axis=1, keepdims=True).clip(min=1e-12)
    told = (np.abs(ranks @ ranks.T) - BY_CHANCE / math.sqrt(max(ranks.shape[1], 1))).clip(min=0)
    np.fill_diagonal(told, 0)
    means: np.ndarray = told.sum(axis=1) / max(len(codes) - 1, 1)
    return np.asarray(means - means.mean())


def place_of(column: Column, ends: Sequence[Column], columns: Sequence[Column]) -> tuple[str, float]:
    """Describes the place of a first or last column, and weighs it; "that fits" means that others, such as an id, are
    further out.
    """
    if column is ends[-1]:
        said = "is the last column" if column is columns[-1] else "is the last column that fits"
        return said, LAST + (LAST_OF_TWO if column is columns[-1] and column.unique == 2 else 0.0)
    said = "is the first column" if column is columns[0] else "is the first column that fits"
    return said, FIRST if column is ends[0] else 0.0


def near_best(ranked: Sequence[Ranked], last: Column) -> list[Ranked]:
    """Returns the best column alone or, if it is not much likelier than all others together, the best four; scores are
    log odds.

    The last of the four are, if they are further behind, the column with the highest score, which may be mostly
    missing, and the table's
    ``last`` column: often it is the last of a series, such as the marks of a year.
    """
    others = sum(math.exp(candidate.score - ranked[0].score) for candidate in ranked[1:])
    if 1 / (1 + others) >= SURE:
        return [ranked[0]]
    likeliest = max(ranked, key=lambda candidate: candidate.score)
    further = [one for one in ranked[MOST_ASKED:] if one.column is last or one is likeliest]
    behind = [one if one is likeliest else replace(one, reason="is the last column") for one in further]
    return [*ranked[: MOST_ASKED - len(behind)], *behind]


def name_weight(name: str) -> float:
    """Returns the weight of a name: in full for the name as a whole, else in part for its last word (the noun) or its
    strongest word.
    """
    words = words_of(name)
    if not words:
        return 0.0
    if "".join(words) in LABELS:
        return LABELLED
    if len(words) >= A_PHRASE:
        return 0.0
    parts = [word_weight(word) for word in words if len(word) > 1] or [0.0]
    return word_weight("".join(words)) or PART * (parts[-1] or max(parts, key=abs))


def word_weight(word: str) -> float:
    """Returns the weight of a word, also as a plural, a count ("ncases"), an abbreviation ("durat") or the end of a
    longer word.
    """
    for same in (word, word.rstrip("s")):
        if same in WEIGHTS:
            return WEIGHTS[same]
    if word.removeprefix("n") in MEASURES | SOMETIMES:
        return COUNTED
    near = [
        known
        for known in WEIGHTS
        if len(known) > LONG and (word.endswith(known) or (len(word) > LONG and known.startswith(word)))
    ]
    return PART * max((WEIGHTS[known] for known in near), key=abs, default=0.0)


def in_title(columns: Iterable[Column], title: str) -> set[str]:
    """Returns the columns that share a word with the table's name; none if more than two do, as the word is then
    uninformative.
    """
    of_title = [word for word in words_of(title.rsplit(".", 1)[0]) if len(word) > 2]
    matching = {
        column.name
        for column in columns
        for word in words_of(column.name)
        if len(word) > 2
        and any(word == other or (min(len(word), len(other)) > 3 and _starts(word, other)) for other in of_title)
    }
    return matching if len(matching) <= 2 else set()


def _starts(word: str, other: str) -> bool:
    return word.startswith(other) or other.startswith(word) or word.rstrip("s") == other.rstrip("s")


def value_weight(column: Column) -> float:
    """Returns the weight of the number of different values."""
    if column.unique == 2:
        return TWO_VALUES
    return MANY_WORDS if column.kind != "number" and column.unique > MOST_CLASSES else 0.0
