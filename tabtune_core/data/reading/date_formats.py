"""The formats in which people write dates and times of day, as regular expressions of a cell and SQL for its moment."""

# ruff: noqa: RUF001

import re
from collections.abc import Iterable
from functools import reduce

from tabtune_core.data.findings import DateOrder

ELSEWHERE = {
    "jan": (
        "ene(ro)?|gen(naio)?|jän(ner)?|styczeń|stycznia|янв(ар[ья])?|ocak|leden|ledna|januára?|januarj?a|ιανουάριος|ιανουαρίου|ianuarie|ian|"
        "січень|січня|gener|tammikuu(ta)?|януари"
    ),
    "feb": (
        "feber|fev(ereiro)?|fév(r(ier)?)?|luty|lutego|фев(рал[ья])?|şubat|února?|februára?|februarj?a|φεβρουάριος|φεβρουαρίου|februarie|"
        "лютий|лютого|febrer|helmikuu(ta)?|февруари"
    ),
    "mar": (
        "märz?|mrz|mrt|maart|marzec|marca|март?а?|marta?|březen|března|március|μάρτιος|μαρτίου|martie|marts|maret|березень|"
        "березня|març|maaliskuu(ta)?|marec"
    ),
    "apr": (
        "avr(il)?|abr(il)?|kwiecień|kwietnia|апр(ел[ья]|ил)?|nisan|duben|dubna|április|apríla?|aprila|απρίλιος|απριλίου|aprilie|квітень|квітня|"
        "huhtikuu(ta)?"
    ),
    "may": "maio?|mag(gio)?|mei|maja?|ма[йя]|mayıs|květen|května|május|μάιος|μαΐου|травень|травня|maig|toukokuu(ta)?|mája?",  # noqa: E501
    "jun": (
        "juin|giu(gno)?|czerwiec|czerwca|июн[ья]?|haziran|červen|června|június|ιούνιος|ιουνίου|iun(ie)?|червень|червня|juny|"
        "kesäkuu(ta)?|júna?|junija?|juna|юни"
    ),
    "jul": (
        "juil(let)?|lug(lio)?|lipiec|lipca|июл[ья]?|temmuz|červenec|července|július|ιούλιος|ιουλίου|iul(ie)?|липень|липня|juliol|"
        "heinäkuu(ta)?|júla?|julija?|jula|юли"
    ),
    "aug": (
        "ago(sto)?|août|sierpień|sierpnia|авг(уста?)?|ağustos|srpen|srpna|august[ai]|augusztus|αύγουστος|αυγούστου|agu(stus)?|agt|"
        "серпень|серпня|agost|elokuu(ta)?|avgusta?"
    ),
    "sep": (
        "set(t|t?embre|embro)?|wrzesień|września|сен(тябр[ья])?|eylül|září|szeptember|σεπτέμβριος|σεπτεμβρίου|septembrie|"
        "вересень|вересня|syyskuu(ta)?|septemb(ar|ra)|септември"
    ),
    "oct": (
        "okt(ober|óber|[oó]bra)?|ott(obre)?|out(ubro)?|październik|października|окт(ябр[ья])?|ekim|říjen|října|οκτώβριος|οκτωβρίου|"
        "octombrie|жовтень|жовтня|lokakuu(ta)?|oktobar|октомври"
    ),
    "nov": "listopada?u?|ноя(бр[ья])?|kasım|νοέμβριος|νοεμβρίου|noiembrie|noi|nopember|листопада?|marraskuu(ta)?|novemb(ar|ra)|ноември",  # noqa: E501
    "dec": (
        "dez(ember|embro)?|dic(iembre|embre)?|déc(embre)?|grudzień|grudnia|дек(абр[ья])?|aralık|prosinec|prosince|δεκέμβριος|"
        "δεκεμβρίου|decembrie|des(ember|embre)?|грудень|грудня|joulukuu(ta)?|decemb(ar|ra)|декември"
    ),
}
"""Months that are not written as in English, in German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian,
Turkish, Czech, Swedish, Hungarian, Greek, Danish, Norwegian, Finnish, Romanian, Ukrainian, Catalan, Indonesian, Slovak,
Slovenian, Serbian and Bulgarian.
"""
FOREIGN = "|".join(ELSEWHERE.values()).replace("(", "(?:")
LIKELY = re.compile(
    r"(?=.{4,40}$)(?=.*\d)([\d\s/.,:+年月日년월일-]|(mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    rf"|{FOREIGN})[a-zç]*"
    r"|\d(st|nd|rd|th)|\b(of|de|gmt|utc|uhr)\b|^(mo|di|mi|do|fr|sa|so)[.,]|[ap]\.?m\b|(?<![a-z])[tqmwz](?![a-z])|[A-Z]{3,4}$|\s[A-Za-z]+/[A-Za-z_]+$)+",
    re.IGNORECASE,
)
"""The parts of dates and times of day; whether a cell is one is decided by its format."""
LOCAL = r"\d{4,6}[-/ \\]\d{1,2}[-/ \\]\d{1,2}"
TIME = r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
ZONE = r"\s*((GMT|UTC)[+-]\d\d?(:[0-5]\d)?|[+-](0\d|1[0-4])(:?[0-5]\d(:[0-5]\d)?)?|[A-Za-z]+(/[A-Za-z_]+)*)"
HALF_DAY = r"[/\d-]+ [\d:]+ ?[AaPp][Mm]"
ZONED = (
    f"((regexp_full_match(cell, '{LOCAL}{TIME}{ZONE}') AND NOT regexp_full_match(cell, '{HALF_DAY}'))"
    f" OR regexp_full_match(cell, '{HALF_DAY}{ZONE}'))"
)
MAILED = r"regexp_full_match(cell, '([A-Za-z]{3}, )?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(:\d\d)? [+-]\d{4}')"
"""A moment as mails and HTTP have it."""
MAIL = ["%d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M %z"]
MOMENT = (  # on a clock of 24 hours
    f"coalesce(strftime(TRY_STRPTIME(replace(regexp_extract(cell, '^{HALF_DAY}'), '/', '-'), "
    f"['%Y-%m-%d %I:%M:%S %p', '%Y-%m-%d %I:%M %p']), '%Y-%m-%d %H:%M:%S') || regexp_replace(cell, '^{HALF_DAY}', "
    "''), cell)"
)
KNOWN = (
    "CEST=+02 MESZ=+02 MEZ=CET EEST=+03 WEST=+01 BST=+01 AEST=+10 AEDT=+11 EDT=-04 CDT=-05 MDT=-06 PDT=-07 "
    "MSK=+03 KST=+09 UTC=GMT"
)
"""Zones that DuckDB does not know, or takes for distant ones, and what stands for them; AEDT before EDT, which it
contains.
"""
OFFSET = reduce(lambda cell, zone: f"replace({cell}, '{zone[:-4]}', '{zone[-3:]}')", KNOWN.split(), MOMENT)
# a plain cast drops everything after a time: offsets, zones, even PM
STANDARD = (
    f"CASE WHEN regexp_full_match(cell, '{LOCAL}({TIME})?') THEN TRY_CAST(cell AS TIMESTAMP) "
    f"WHEN {MAILED} THEN make_timestamp(epoch_us(TRY_STRPTIME(regexp_replace(cell, '^[A-Za-z]+, ', ''), {MAIL}))) "
    f"WHEN {ZONED} THEN make_timestamp(epoch_us(TRY_CAST(regexp_replace("
    # before DuckDB 2, a moment with a zone needs seconds
    rf"regexp_replace({OFFSET}, '([T ]\d{{1,2}}:\d{{2}})(\s*[A-Za-z+-])', '\1:00\2'), '\s+([+-])', '\1') "
    "AS TIMESTAMPTZ))) END"
)
MARKS = (
    (r"[-/., 年月日년월일]+", " "),
    (r" $", ""),
    (r"^(\d+:[\d:]+) (\d+ \w+ \d+)$", r"\2 \1"),
    (r"^(\d{4})(\d\d)(\d\d) (\d+:)", r"\1 \2 \3 \4"),
    (r"^(\d{4})(\d\d)(\d\d):(\d\d)(\d\d)$", r"\1 \2 \3 \4:\5"),
    (r"(:\d\d:\d\d):(\d{3})$", r"\1 \2"),
)
"""Rules that put a blank for every mark except the colons of a time, a time after its date, and blanks into a date of
digits.
"""
ENDINGS = (  # of months in all these languages; an exact list, since "Junior 2010" is not a date
    "uary|uari?|vier|v|eiro|ruary|ruari?|rero|braio|ch|s|zo|ço|ile?|o|e|io?|ho|y|ust(us)?|t|t?i?embre|tember|ober|obre|ubre|ember|embro"
)
LOCAL_TIME = r"^(\d?\d?\D.*\d(?:\s*[ap]\.?m\.?)?)\s*\b(?:[ecmp][sd]t|ce(?:s)?t|[ew]e(?:s)?t|bst|ist|jst|kst|msk|ae(?:s|d)t|me(?:s)?z)$"  # noqa: E501
"""A moment that ends with the name of a zone, on the clock of that place; those with the year first become UTC, if the
zone is known.
"""
REWRITTEN = (
    (r"^((mon|tue|wed|thu|fri|sat|sun)(day|sday|nesday|rsday|urday)?[.,]?\s+|(mo|di|mi|do|fr|sa|so)[.,]+ *)", ""),
    (r"\b(\d{1,2})(st|nd|rd|th)\b( of\b)?", r"\1"),
    (rf"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)({ENDINGS})\b", r"\1"),
    (r"^(\d\d?)([a-z]{3})(\d\d|\d{4})\b:?", r"\1 \2 \3 "),
    (r"(\d)t(\d)", r"\1 \2"),
    (r"^(\d{8}) (\d\d)(\d\d)(\d\d)z?$", r"\1 \2:\3:\4"),
    (r"(\d)\s*(utc|gmt|uhr|[+-]00:?00)$", r"\1"),
    (LOCAL_TIME, r"\1"),
    (r"(\d)\s*([ap])\.?m\.?$", r"\1 \2M"),
    *MARKS,
    (r"^(\d{4}) ?q ?([1-4])$", r"q\2 \1"),
    (r"^([1-4]) ?q ?(\d{4})$", r"q\1 \2"),
    *((rf"^q{quarter} ?(\d{{4}})$", rf"{month} \1") for quarter, month in enumerate(("jan", "apr", "jul", "oct"), 1)),
    (r"^(\d{4}) ?m ?(\d{1,2})$", r"\1 \2"),
    (r"^(\d{4}) ?w ?(\d{1,2})$", r"\1 W\2 1"),
)
"""Rules that simplify a date before its format is tried: no weekday, short months, quarters as their first month, and a
blank for every mark except the colons of a time.
"""
LONE = r"(^|[ \d.,/-])(?:%s)([ \d.,/-]|$)"
"""A word that letters of no script adjoin; written so, since RE2 takes long to compile a class of all letters."""
TRANSLATED = ((LONE % words.replace("(", "(?:"), rf"\1{month}\2") for month, words in ELSEWHERE.items())


def _rewritten(cell: str, rules: Iterable[tuple[str, str]]) -> str:
    return reduce(lambda cell, rule: f"regexp_replace({cell}, '{rule[0]}', '{rule[1]}', 'g')", rules, cell)


ENGLISH = (
    # not "set 12"
    rf"CASE WHEN regexp_matches(lower(cell), '{LONE % (FOREIGN + '|de')}') AND regexp_matches(cell, '\b[12]\d{{3}}\b') "
    f"THEN {_rewritten('lower(cell)', [(r' de ', ' '), *TRANSLATED])} ELSE lower(cell) END"
)
WORDED = _rewritten(ENGLISH, REWRITTEN)
SIMPLE = rf"CASE WHEN regexp_matches(cell, '[^ -*,-@]') THEN {WORDED} ELSE {_rewritten('cell', MARKS)} END"
PARTS = (SIMPLE, STANDARD)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S %f", "%I:%M %p", "%I:%M:%S %p")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[ap]\.?m\.?)?", re.IGNORECASE)
TIME_OF_DAY = f"coalesce(CAST(TRY_STRPTIME({SIMPLE}, {list(CLOCKS)}) AS TIME), CAST({STANDARD} AS TIME))"
SWAPPED = {"%d %m %Y": "%m %d %Y", "%d %m %y": "%m %d %y", "%d%m%Y": "%m%d%Y"}
"""Formats with the day first, and their counterparts with the month first."""
YEAR_FIRST = "%y %m %d"
YEARS = (r"\b[12]\d{3}\b", r"(^|\D)\d\d( \d+:|$)", r"^\d\d \d\d? \d\d( |$)")
"""Patterns of years, which keep two digits from being read as four, and one-digit days as years: four digits, two at
the end or first.
"""
STYLES = (
    *(
        "%d %b %Y",
        "%b %d %Y",
        "%Y %b %d",
        "%b %Y",
        "%Y %b",
        "%d %b %y",
        "%b %y",
        "%Y %m %d",
        "%Y %m",
        "%m %Y",
        "%G W%V %u",
    ),
    *(style for pair in SWAPPED.items() for style in pair if " " in style),
    YEAR_FIRST,
)
YEAR_LEADS, YEAR_ENDS = r"(1[89]|20)\d{%d}", r"\d{3,4}(19|20)\d\d"
DIGITS = {
    style: YEAR_LEADS % rest for style, rest in (("%Y%m", 4), ("%Y%m%d", 6), ("%Y%m%d%H%M", 10), ("%Y%m%d%H%M%S", 12))
}
DIGITS |= dict.fromkeys(("%d%m%Y", "%m%d%Y"), YEAR_ENDS)
"""Date formats that are whole numbers, with their pattern."""
IN_DIGITS = re.compile(rf"({'|'.join(DIGITS.values())})(\.0+)?")


def any_format(day_first: DateOrder) -> str:
    """Returns SQL for a date in any format; where it has several meanings, ``day_first`` says which is meant."""
    swapped = [*SWAPPED.values(), *SWAPPED] if day_first is False else [*SWAPPED, *SWAPPED.values()]
    never = [style for style in swapped if "%y" in style] if day_first == "year" else [YEAR_FIRST]
    styles = [style for style in dict.fromkeys((*swapped, *STYLES)) if style in STYLES and style not in never]
    written = [
        written_as(*alike) for alike in ([style for style in styles if _year(style) == year] for year in YEARS) if alike
    ]
    digits = [digits_as(style) for style in sorted(DIGITS, key=lambda style: style in swapped and swapped.index(style))]
    return f"coalesce({', '.join([STANDARD, *written, *digits])})"


def written_as(*styles: str) -> str:
    """Returns SQL for a date in the first fitting format, with or without a time; all formats have the same kind of
    year.
    """
    timed = [
        form
        for style in styles
        for form in (
            style,
            *(f"{style} {clock}" for clock in CLOCKS),
            *(style.replace(" %Y", f" {clock} %Y") for clock in CLOCKS[:2]),
        )
    ]
    next_day = f"TRY_STRPTIME(replace({SIMPLE}, ' 24:00', ' 00:00'), {timed}) + INTERVAL 1 DAY"
    moment = f"CASE WHEN contains({SIMPLE}, ' 24:00') THEN {next_day} ELSE TRY_STRPTIME({SIMPLE}, {timed}) END"
    return f"coalesce({STANDARD}, CASE WHEN regexp_matches({SIMPLE}, '{_year(styles[0])}') THEN {moment} END)"


def _year(style: str) -> str:
    """Returns the pattern of ``YEARS`` for a format."""
    return YEARS[("%y" in style) + style.startswith("%y")]


def digits_as(style: str) -> str:
    """Returns SQL for a date in a format of ``DIGITS``, whose leading zero may be absent."""
    digits = r"regexp_replace(cell, '\.0+$', '')"
    padded = f"CASE WHEN length({digits}) = 7 THEN '0' || {digits} ELSE {digits} END"
    return f"CASE WHEN regexp_full_match({digits}, '{DIGITS[style]}') THEN TRY_STRPTIME({padded}, '{style}') END"
