"""Settings and reading choices as command-line flags. In: the dataclasses. Out: argparse arguments, and the values that
were given.

The docstring under a field is its help; if a flag is not given, the settings file or the dataclass decides.
"""

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args, get_origin

from tabtune_core.data.findings import Kind, Question, ReadingChoices
from tabtune_core.errors import SettingError
from tabtune_core.execution.worker_flags import number_within
from tabtune_core.settings import AXES, SETTINGS
from tabtune_core.settings.fields import describe, rows_of
from tabtune_core.settings.serialization import read_pattern, read_target_set
from tabtune_core.settings.sweep import LORA_AXES

INSIST = "--even-if-it-does-not-fit"
_METAVARS = {int: "N", float: "X", str: "TEXT"}


def add_flags(
    group: argparse._ArgumentGroup,
    settings: type,
    section: str = "",
    *,
    leave_out: Collection[str] = (),
    more: Mapping[str, str] | None = None,
) -> None:
    """Adds one flag per field of plain values, for example ``--context-rows``; its value is kept under ``section`` +
    the field's name.

    ``more`` is added to the help of a field; if it names a default, the dataclass's default is not shown.
    """
    for row in (row for row in rows_of(settings) if row.name not in leave_out):
        added = (more or {}).get(row.name, "")
        text = _help(f"{row.help} {added}".strip(), None if "(default:" in added else row.default)
        group.add_argument(
            flag_of(row.name), dest=f"{section}{row.name}", default=argparse.SUPPRESS, help=text, **_kind(row.kind)
        )


def add_reading_flags(group: argparse._ArgumentGroup) -> None:
    """Adds the flags for reading a file; a value is kept under ``reading.`` + the name of the choice."""
    for name, flag, more in (
        # a tab is hard to type on a command line
        (
            "delimiter",
            "--delimiter",
            {"metavar": "CHARACTER", "type": lambda text: {"\\t": "\t", "tab": "\t"}.get(text, text)},
        ),
        ("encoding", "--encoding", {"metavar": "NAME"}),
        ("header", "--header", {"action": argparse.BooleanOptionalAction}),
        ("missing_marks", "--missing", {"metavar": "MARK", "nargs": "+", "type": str.strip}),
        ("sheet", "--sheet", {"metavar": "NAME"}),
        ("rows", "--rows", {"metavar": "N", "type": number_within(1, 10**9)}),
        ("drop_copies", "--drop-copies", {"action": "store_true"}),
        ("skip_last", "--skip-last", {"metavar": "N", "type": number_within(0, 10**9)}),
    ):
        text = _help(describe(ReadingChoices, name), None)
        group.add_argument(flag, dest=f"reading.{name}", default=argparse.SUPPRESS, help=text, **more)
    for flag, text in (
        ("--leave-out", "Columns that no model is shown, as with 'left out' on the Data page."),
        (
            "--encode-text",
            "Columns of free text that models are shown as numbers, as with 'encoded text' on the Data page.",
        ),
        (
            "--decimal-comma",
            "Columns in which 1.234 is 1234, as with 'The points separate thousands' on the Data page.",
        ),
        (
            "--thousands-comma",
            "Columns in which 1,234 is 1234, as without them among 'Columns with decimal commas' on the Data page.",
        ),
    ):
        dest = f"reading.{flag[2:].replace('-', '_')}"
        group.add_argument(
            flag, dest=dest, metavar="COLUMN", nargs="+", type=str.strip, default=argparse.SUPPRESS, help=text
        )
    order = group.add_mutually_exclusive_group()
    for flag, first, date, meaning in (
        ("--day-first", True, "03/04/2025", "the third of April"),
        ("--month-first", False, "03/04/2025", "the fourth of March"),
        ("--year-first", "year", "03/04/25", "the 25th of April 2003"),
    ):
        order.add_argument(
            flag,
            dest="reading.day_first",
            action="store_const",
            const=first,
            default=argparse.SUPPRESS,
            help=f"{date} is {meaning}.",
        )


def flag_of(setting: str) -> str:
    """Returns the flag of a setting.

    >>> flag_of("warmup_steps")
    '--warmup-steps'
    """
    return f"--{setting.replace('_', '-')}"


def given_reading(arguments: argparse.Namespace) -> ReadingChoices:
    """Returns the choices that were given; the others are detected from the file."""
    values: dict[str, Any] = {
        path.removeprefix("reading."): value for path, value in vars(arguments).items() if path.startswith("reading.")
    }
    for flag in (name for name, value in values.items() if value == []):  # Python leaves out --
        named = flag.removesuffix("_marks").replace("_", "-")
        raise SettingError(
            f"--{named} names nothing. If '--' was meant, write it with a blank in front and in quotes: --{named} ' "
            "--'."
        )
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

    if question.field == "split":
        answers = [read_answer(option) for option in question.options]
        return " or ".join(
            f"--split-by {by}" + (f" --split-column {shlex.quote(column)}" if column else "") for by, column in answers
        )
    return {
        "header": "--header or --no-header",
        "skip_last": f"--skip-last {question.options[-1]}",
        "day_first": " or ".join(
            {"true": "--day-first", "false": "--month-first"}.get(option, "--year-first") for option in question.options
        ),
        "decimal_commas": f"--decimal-comma {_words(question.options)}",
        "sheet": f"--sheet NAME ({', '.join(map(shlex.quote, question.options))})",
        "encoding": f"--encoding NAME ({', '.join(question.options)})",
        "missing_marks": f"--missing {_words(question.options)}",
    }[question.field]


def _words(options: Iterable[str]) -> str:
    """Quotes values of a flag; a blank before one that begins with a hyphen keeps it from being read as a flag."""
    return shlex.join(f" {option}" if option.startswith("-") else option for option in options)


def given(arguments: argparse.Namespace, start: dict[str, Any]) -> dict[str, Any]:
    """Returns ``start`` overridden by the settings flags that were given, section by section.

    If a flag is given, the setting that would replace it (steps replace epochs, several alphas replace one) is removed
    from ``start``.
    """
    values = dict(start)
    flags = {path.split(".")[-1] for path in vars(arguments) if path.startswith("settings.")}
    for path, value in vars(arguments).items():
        *sections, name = path.split(".")
        if sections[:1] != ["settings"]:
            continue
        inner = values
        for section in sections[1:]:
            inner[section] = dict(inner.get(section, {}))
            inner = inner[section]
        inner[name] = value
        if name in SETTINGS and SETTINGS[name].replaced_by not in flags:
            inner.pop(SETTINGS[name].replaced_by, None)
        for axis in LORA_AXES:
            if AXES[axis].axis == name and axis not in flags:
                values.pop(axis, None)
    return values


def _help(text: str, default: object) -> str:
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    note = "" if shown in (None, "", {}, dataclasses.MISSING) else f" (default: {shown})"
    return f"{text}{note}".replace("%", "%%")


def _kind(hint: Any) -> dict[str, Any]:
    """Returns how argparse reads a value of this type."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if get_origin(hint) is Mapping:
        return {
            "action": _Several,
            "const": partial(read_pattern, number=get_args(hint)[1]),
            "nargs": "+",
            "metavar": "LAYERS=N",
        }
    if get_origin(hint) is tuple:
        first, second = get_args(hint)
        if second is not Ellipsis:
            return {"type": first, "nargs": 2, "metavar": _METAVARS[first]}
        read, metavar = (read_target_set, "PART+PART") if get_origin(first) is tuple else (first, _METAVARS[first])
        return {"action": _Several, "const": partial(_listed, read=read), "nargs": "+", "metavar": metavar}
    return {"type": hint, "metavar": _METAVARS[hint]}


def _listed(texts: Sequence[str], *, read: Callable[[str], Any]) -> list[Any]:
    """Reads values with spaces or commas between them; ``read`` reads one."""
    listed = []
    for text in (part.strip() for several in texts for part in several.split(",")):
        try:
            listed += [read(text)] if text else []
        except ValueError as error:
            raise SettingError(f"invalid {read.__name__} value: {text!r}") from error
    if not listed:
        raise SettingError("expected a value, found an empty one")
    return listed


class _Several(argparse.Action):
    """Several texts that are read together, by ``const``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            setattr(namespace, self.dest, self.const(values))
        except SettingError as error:
            parser.error(f"argument {option_string}: {error}")
