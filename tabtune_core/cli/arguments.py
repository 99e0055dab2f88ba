"""Settings and reading choices as command-line flags: the docstring under a field is its help.

In: the dataclasses. Out: argparse arguments, and the values that were given; the settings file or the dataclass decide
the others.
"""

import argparse
import dataclasses
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from tabtune_core.data.findings import Kind, Question, ReadingChoices
from tabtune_core.errors import SettingError, nearest
from tabtune_core.execution.worker_flags import number_within
from tabtune_core.settings import AXES, SETTINGS, Setting
from tabtune_core.settings.fields import rows_of
from tabtune_core.settings.serialization import read_pattern, read_target_set
from tabtune_core.settings.sweep import LORA_AXES

INSIST = "--even-if-it-does-not-fit"
_METAVARS = {int: "N", float: "X", str: "TEXT"}
ORDINARY = (
    *("target", "task", "model", "checkpoint", "strategy", "seed", "device", "split_by", "split_column"),
    *("rank", "alpha", "dropout", "targets"),
    *("steps", "epochs", "learning_rate", "context_rows", "batch_size"),
)
"""Settings of a run with a flag of their own; the others are given as ``--set NAME=VALUE``."""


def add_flags(
    group: argparse._ArgumentGroup, settings: type, section: str = "", *, leave_out: Collection[str] = ()
) -> None:
    """Adds a flag per field of plain values, such as ``--context-rows``; it is kept under ``section`` + its name."""
    for row in rows_of(settings):
        if row.name not in leave_out and (row.name in ORDINARY or row.name not in SETTINGS):
            text = _help(_in_short(row.help), "by the target" if row.name == "task" else row.default)
            how = {"default": argparse.SUPPRESS, "help": text, **_kind(row.kind)}
            group.add_argument(flag_of(row.name), dest=f"{section}{row.name}", **how)


def add_set(group: argparse._ArgumentGroup, section: str) -> None:
    """Adds ``--set NAME=VALUE``, whose values are kept in a list under ``section`` + ``set``."""
    text = "any other setting, for example --set optimizer=sgd --set lora.use_dora=true"
    how: dict[str, Any] = {"action": "append", "type": _assignment, "metavar": "NAME=VALUE", "help": text}
    group.add_argument("--set", dest=f"{section}set", default=argparse.SUPPRESS, **how)


def add_reading_flags(group: argparse._ArgumentGroup) -> None:
    """Adds the flags for reading a file; a value is kept under ``reading.`` + the name of the choice."""
    for name, flag, text, how in (
        ("delimiter", "--delimiter", "the character between two cells, or tab", {"metavar": "CHARACTER", "type": _tab}),
        ("encoding", "--encoding", "a codec of Python, such as cp1252", {"metavar": "NAME"}),
        ("header", "--header", "the first line holds column names, or not", {"action": argparse.BooleanOptionalAction}),
        ("missing_marks", "--missing", "cells that mean missing", {"metavar": "MARK", "nargs": "+", "type": str.strip}),
        ("sheet", "--sheet", "of a workbook", {"metavar": "NAME"}),
        ("rows", "--rows", "read a random sample of so many rows", {"metavar": "N", "type": number_within(1, 10**9)}),
        ("drop_copies", "--drop-copies", "keep one of equal rows", {"action": "store_true"}),
        ("skip_last", "--skip-last", "leave out rows at the end", {"metavar": "N", "type": number_within(0, 10**9)}),
        ("leave_out", "--leave-out", "columns that no model is shown", _COLUMNS),
        ("encode_text", "--encode-text", "columns of free text that models are shown as numbers", _COLUMNS),
        ("decimal_comma", "--decimal-comma", "columns in which 1.234 is 1234", _COLUMNS),
        ("thousands_comma", "--thousands-comma", "columns in which 1,234 is 1234", _COLUMNS),
    ):
        group.add_argument(flag, dest=f"reading.{name}", default=argparse.SUPPRESS, help=text, **how)
    order = group.add_mutually_exclusive_group()
    for flag, first, text in (
        ("--day-first", True, "03/04/2025 is the third of April"),
        ("--month-first", False, "03/04/2025 is the fourth of March"),
        ("--year-first", "year", "03/04/25 is the 25th of April 2003"),
    ):
        order.add_argument(
            flag, dest="reading.day_first", action="store_const", const=first, default=argparse.SUPPRESS, help=text
        )


_COLUMNS = {"metavar": "COLUMN", "nargs": "+", "type": str.strip}


def _tab(text: str) -> str:
    """A tab is hard to type on a command line."""
    return {"\\t": "\t", "tab": "\t"}.get(text, text)


def flag_of(setting: str) -> str:
    """Returns the flag of a setting.

    >>> flag_of("batch_size"), flag_of("warmup_steps")
    ('--batch-size', '--set warmup_steps')
    """
    rare = setting in SETTINGS and setting not in ORDINARY
    return f"--set {setting}" if rare else f"--{setting.replace('_', '-')}"


def given_reading(arguments: argparse.Namespace) -> ReadingChoices:
    """Returns the choices that were given; the others are detected from the file."""
    values: dict[str, Any] = {
        path.removeprefix("reading."): value for path, value in vars(arguments).items() if path.startswith("reading.")
    }
    marks = tuple(values.pop("missing_marks", ()))
    kinds: dict[str, Kind] = dict.fromkeys(values.pop("encode_text", ()), "encoded")
    kinds |= dict.fromkeys(values.pop("leave_out", ()), "ignored")
    commas = dict.fromkeys(values.pop("decimal_comma", ()), True)
    thousands = dict.fromkeys(values.pop("thousands_comma", ()), False)
    if both := sorted(commas.keys() & thousands):
        raise SettingError(f"--decimal-comma and --thousands-comma both name {both[0]!r}. Name it once.")
    return ReadingChoices(
        **values, missing_marks=marks, kinds=tuple(kinds.items()), decimal_commas=(*commas.items(), *thousands.items())
    )


def answer_flags(question: Question) -> str:
    """Returns the flags that answer a question about a file or a table."""
    from tabtune_core.data.split_question import read_answer

    options = question.options
    if question.field == "split":
        answers = map(read_answer, options)
        return " or ".join(
            f"--split-by {by}" + (f" --split-column {shlex.quote(column)}" if column else "") for by, column in answers
        )
    orders = {"true": "--day-first", "false": "--month-first"}
    return {
        "header": "--header or --no-header",
        "skip_last": f"--skip-last {options[-1]}",
        "day_first": " or ".join(orders.get(option, "--year-first") for option in options),
        "decimal_commas": f"--decimal-comma {_words(options)}",
        "sheet": f"--sheet NAME ({', '.join(map(shlex.quote, options))})",
        "encoding": f"--encoding NAME ({', '.join(options)})",
        "missing_marks": f"--missing {_words(options)}",
    }[question.field]


def _words(options: Iterable[str]) -> str:
    """Quotes values of a flag; a blank before one that begins with a hyphen keeps it from being read as a flag."""
    return shlex.join(f" {option}" if option.startswith("-") else option for option in options)


def settings_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings that flags or ``--set`` name, by their path, such as ``run.lora.rank``."""
    values: dict[str, Any] = {}
    for path, value in vars(arguments).items():
        section, _, name = path.removeprefix("settings.").rpartition(".")
        if not path.startswith("settings."):
            continue
        assigned = value if name == "set" and path.endswith(".set") else [(name, value)]
        values |= {f"{section}.{own}".lstrip("."): one for own, one in assigned}
    return values


def given(arguments: argparse.Namespace, start: dict[str, Any]) -> dict[str, Any]:
    """Returns ``start`` overridden by the settings flags that were given, section by section.

    A setting in ``start`` that would replace a given one goes: steps replace epochs, several alphas replace one.
    """
    values = dict(start)
    flags = settings_given(arguments)
    names = {path.split(".")[-1] for path in flags}
    for path, value in flags.items():
        *sections, name = path.split(".")
        inner = values
        for section in sections:
            inner[section] = dict(inner.get(section, {}))
            inner = inner[section]
        inner[name] = value
        if name in SETTINGS and SETTINGS[name].replaced_by not in names:
            inner.pop(SETTINGS[name].replaced_by, None)
        for axis in LORA_AXES:
            if AXES[axis].axis == name and axis not in names:
                values.pop(axis, None)
    return values


def _help(text: str, default: object) -> str:
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    note = "" if default is False or shown in (None, "", {}, dataclasses.MISSING) else f" (default: {shown})"
    return f"{text}{note}".replace("%", "%%")


def _in_short(text: str) -> str:
    return re.split(r"[.:,;]\s", text)[0].removesuffix(".")


def _kind(hint: Any) -> dict[str, Any]:
    """Returns how argparse reads a value of this type."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is tuple:
        first = get_args(hint)[0]
        read, metavar = (read_target_set, "PART+PART") if get_origin(first) is tuple else (first, _METAVARS[first])
        return {"type": read, "nargs": "+", "metavar": metavar}
    return {"type": hint, "metavar": _METAVARS[hint]}


def _assignment(text: str) -> tuple[str, Any]:
    """Reads NAME=VALUE as an argparse type: the path of a setting of a run, and its value."""
    name, _, written = text.partition("=")
    paths = {row.path: row for row in SETTINGS.values() if row.name != "dataset"}
    row = paths.get(name) or paths.get(SETTINGS[name].path if name in SETTINGS else "")
    if row is None:
        near = nearest(name, paths)
        hint = f"Did you mean {near!r}?" if near else f"Known are {', '.join(paths)}."
        raise argparse.ArgumentTypeError(f"there is no setting {name!r}. {hint}")
    try:
        return row.path, _value(row, written.strip())
    except SettingError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from error
    except (KeyError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name}: {written.strip()!r} is not a value of it") from error


def _value(row: Setting, text: str) -> Any:
    """Reads the value of a setting as the command line writes it: true, 0.1, one,two or layers=4,others=2."""
    origin = get_origin(row.kind)
    if row.kind is bool:
        return {"true": True, "false": False}[text.lower()]
    if origin is Mapping:
        return read_pattern(text.replace(",", " ").split(), number=get_args(row.kind)[1])
    if origin is tuple:
        return [get_args(row.kind)[0](part) for part in text.split(",")]
    return text if origin is Literal else row.kind(text)
