"""Types a column of numbers in the format that was found, and tells how it was read and what may be wrong with it."""

import re
from collections.abc import Sequence

from tabtune_core.data.findings import Finding, shorten
from tabtune_core.data.reading.durations import TYPED_NUMBER
from tabtune_core.data.reading.number_formats import (
    AMOUNTS,
    APOSTROPHE,
    BARE,
    BLANKS,
    BOUND,
    COMMAS,
    FLAG,
    FOOTNOTE,
    GAP,
    LED,
    PERCENT,
    POINTS,
    UNMARKED,
    Fitting,
)
from tabtune_core.data.reading.number_units import AMOUNT, LETTER_UNITS, LETTERED, SHORTENED, WORTH, letter_of_all
from tabtune_core.data.reading.words import Typed
from tabtune_core.wording import counted

MANY_NUMBERS = 20
"""A column with more different values, all but a few of them numbers, is a number column, however often the words
occur.
"""
BARE_POWER = re.compile(r"\d+[Ee]\d+")
MARKED = re.compile(rf"{BOUND}.*|.*\d{FLAG}")
CREDIT = re.compile(r".*\d[.,]\d\d\s*(CR|DR|Cr|Dr|[CDHS])")
"""An amount with a mark of credit or debit, in English or German."""
NO_SIGN: frozenset[str] = frozenset()
SHOWN = {POINTS: r"\d,\d", COMMAS: r"\d,\d", BLANKS: rf"\d({GAP}|{APOSTROPHE})\d", AMOUNTS: "[KkMmBb]$"}
"""What the example of a format must hold."""


def style_typed(name: str, sample: list[str], fitting: Fitting, unit: str | None) -> Typed:
    """Returns the type of a number column in the format ``fitting``; cells in other formats become missing."""
    style, text = fitting.style, fitting.text
    numbers = [value for value in sample if re.match(r"\W*\d", value)] or sample
    if text == UNMARKED:
        numbers = [value for value in sample if re.fullmatch(f"{MARKED.pattern}|.*{FOOTNOTE}", value)] or sample
    between = r"\d\D+\d"  # in a better example than a whole number
    shown = next(
        value
        for mark in (SHOWN.get(style, between), between, r"[^\d.-]", "")
        for value in numbers
        if re.search(mark, value)
    )
    what = (
        "Numbers with points between thousands"
        if style is POINTS and not any("," in value for value in sample)
        else style.message
    )
    signs = {
        "cell": "",
        BARE: " and a currency, percent, minus or plus sign",
        UNMARKED: " and marks, which are left out,",
    }
    message = (
        f"{what}{signs.get(text, f' and the unit {unit!r}')} in {name!r}, such as {shorten(shown)!r}, were "
        "read as numbers"
    )
    scale = "; 12% became 12" if any(PERCENT in value for value in sample) else ""
    scale += "; (12) became -12" if text == BARE and any(value.endswith(")") for value in sample) else ""
    scale += "".join(
        f"; {value} became -{value[:-1]}"
        for value in [cell for cell in sample if re.fullmatch(r"\d[\d.,]*-", cell)][:1]
    )
    scale += "; <5 became 5" if text == UNMARKED and any(re.match(BOUND, value) for value in sample) else ""
    scale += ". Choose category if the marks matter" if text == UNMARKED else ""
    letter = LETTERED.fullmatch(shown)
    if unsure := style is AMOUNTS and letter is not None and letter[2] != "" and not any(map(AMOUNT.match, sample)):
        scale += (
            f"; {shown} became {float(letter[1].replace(',', '')) * WORTH[letter[2].upper()]:,.0f}. Choose "
            "category if that is wrong"
        )
    if doubt := style is AMOUNTS and letter_of_all(sample) == "K":
        scale += f"; 1K became 1e3. If K means kelvin, let the column's name say so, such as {f'{name} kelvin'!r}"
    own = style.unit or (None if text in signs else unit)
    if own in SHORTENED and not LETTER_UNITS[own.upper()].search(name):
        scale += f". Choose number, under Columns, if {own} means {SHORTENED[own]}"
    code = "marks" if text == UNMARKED else "units" if own else style.code
    cells = [
        value for value in sample if re.search("[1-9]", value) and not re.search(r"[^\W\d_]{2}", re.sub(LED, "", value))
    ]
    marks = {frozenset(sign.rstrip(". ") for sign in re.findall(f"{LED}|%", cell)) for cell in cells}
    if text == BARE and (len(marks - {NO_SIGN}) > 1 or {frozenset("%"), NO_SIGN} <= marks):
        named = ", ".join(map(repr, sorted(NO_SIGN.union(*marks)))) + " and no sign" * (NO_SIGN in marks)
        message, code = (
            f"{message}, with different signs: {named}. Convert them to one unit if they differ in it",
            "mixed-signs",
        )
    typed = [cell for cell in sample if own == "s" and TYPED_NUMBER.fullmatch(cell)]
    plain, timed = (
        next((cell for cell in typed if cell.endswith(" s") == ends and re.search("[1-9]", cell)), None)
        for ends in (0, 1)
    )
    if plain and timed:
        message = (
            f"{name!r} mixes durations in seconds, such as {timed!r}, and plain numbers, such as {plain!r}; "
            "all were read as numbers"
        )
        message, code = f"{message}. Convert them to one unit if they differ in it", "mixed-signs"
    told = Finding(
        "warning" if text == UNMARKED or code == "mixed-signs" or doubt or unsure else "info",
        code,
        f"{message}{scale}.",
        name,
    )
    own = own or (PERCENT if any(PERCENT in cell for cell in sample) else None)
    return Typed("number", fitting.value, (told,), unit=own, decimal_comma={POINTS: True, COMMAS: False}.get(style))


def like_codes(name: str, sample: Sequence[str]) -> tuple[Finding, ...]:
    """Reports whole numbers with powers of ten such as 3E5, and few numbers of which some differ only in zeros at their
    end.
    """
    shown = next(filter(BARE_POWER.fullmatch, sample), None)
    if shown is not None and all(cell.isdecimal() or BARE_POWER.fullmatch(cell) for cell in sample):
        message = (
            f"{name!r} holds {shown!r}, read as a power of ten. Choose category if it is a code, such as a part number."
        )
        return (Finding("warning", "bare-powers", message, name),)
    few = sample if len(sample) <= MANY_NUMBERS else ()
    short = {cell: cell.rstrip("0") for cell in few if re.fullmatch(r"\d+\.\d*[1-9]0+", cell)}
    twice = next((cell for cell, same in short.items() if same in few), None)
    if twice is None:
        return ()
    message = (
        f"{name!r} holds {short[twice]!r} and {twice!r}, read as the same number. Choose category if they "
        "differ, as versions do."
    )
    return (Finding("info", "zeros-at-end", message, name),)


def credit_finding(name: str, sample: Sequence[str]) -> tuple[Finding, ...]:
    """Warns about amounts that stay words because a mark may change their sign."""
    shown = {match[1]: cell for cell in sample if (match := CREDIT.fullmatch(cell))}
    if not shown.keys() & {"CR", "DR", "Cr", "Dr"} and shown.keys() not in ({"C", "D"}, {"H", "S"}):
        return ()
    message = (
        f"{name!r} holds amounts such as {next(iter(shown.values()))!r}, whose mark may change their sign, so "
        "they are kept as words. "
    )
    return (Finding("warning", "credits", f"{message}Write the signs as plus and minus in the file.", name),)


def infinite_finding(name: str, infinite: int) -> tuple[Finding, ...]:
    """Reports infinite values, which become missing."""
    if not infinite:
        return ()
    message = (
        f"{name!r} holds {counted(infinite, 'infinite value')}, read as missing. Nothing to do unless that "
        "stands for something."
    )
    return (Finding("warning", "infinite", message, name),)
