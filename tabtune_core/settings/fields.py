"""The table of settings: one row per setting, which everything that handles settings reads.

In: settings classes whose fields are made by ``setting``. Out: one row per field. The rows determine the checks of
values, the form, the command line's flags, a pipeline's arguments, TOML, the labels of runs and the leaderboard's
columns.
"""

import ast
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from tabtune_core.files.plain_values import hints_of

Value = TypeVar("Value")
Strategy = Literal["inference", "base-ft", "peft", "linear", "boosting", "constant"]
ALL: tuple[Strategy, ...] = get_args(Strategy)
TRAINED: tuple[Strategy, ...] = ("base-ft", "peft")
"""Strategies that train a foundation model."""
MODELS: tuple[Strategy, ...] = ("inference", *TRAINED)
"""Strategies that use a foundation model."""
LORA: tuple[Strategy, ...] = ("peft",)


@dataclass(frozen=True, slots=True)
class Idle:
    """When a setting changes nothing: the form then hides it, and setting it is an error."""

    other: str
    """Name of the other setting, which decides."""
    value: object
    """The value of ``other`` at which this setting changes nothing."""
    why: str
    """End of the error text, after "changes nothing"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting."""

    name: str
    owner: type
    """The class that has it."""
    kind: Any
    """Its type, without None."""
    optional: bool
    default: Any

    low: float | None = None
    """Inclusive lower bound of a number, or of each number in a list."""
    above: float | None = None
    """Exclusive lower bound."""
    high: float | None = None
    below: float | None = None
    hint: str = ""
    """Added to an error about the bounds; by default, that the default of a number is usual."""

    strategies: tuple[Strategy, ...]
    """Strategies that use it."""
    idle: Idle | None = None
    replaced_by: str = ""
    """Name of a setting that, when set, replaces this one."""
    axis: str = ""
    """In a sweep: the setting whose values this one lists."""

    label: str = ""
    """Label in the form; the tooltip is the docstring under the field."""
    place: str = ""
    """The part of the form that draws it by its type; empty: it is drawn by hand, or not at all."""
    step: float = 1
    """Increment of the buttons of a number field."""
    format: str = "%g"
    """Format of a number field for a float."""
    placeholder: str = ""

    argument: str | None = ""
    """Its name as an argument of a pipeline; empty: the same name; None: a pipeline does not take it."""
    written: Callable[[Any], str] | None = None
    """Writes a value other than the default in the label of a run."""
    column: bool = False
    """Whether the leaderboard shows it in a column or does not need to show it."""

    @property
    def section(self) -> str:
        """The part of a run's settings that has it: ``lora``, ``train``, or empty."""
        return str(getattr(self.owner, "_section", ""))

    @property
    def path(self) -> str:
        """Its name among the settings of a run, for example ``train.steps``."""
        return f"{self.section}.{self.name}".removeprefix(".")

    @property
    def help(self) -> str:
        """The docstring under the field."""
        return describe(self.owner, self.name)


def setting(default: Value, label: str = "", place: str = "", **facts: Any) -> Value:
    """Makes a field of a settings class; ``facts`` are attributes of ``Setting``, which refuses any other name."""
    more: dict[str, Any] = {"default_factory": dict, "hash": False} if default == {} else {"default": default}
    made: Value = dataclasses.field(metadata={"label": label, "place": place, **facts}, **more)
    return made


@functools.cache
def rows_of(owner: Any) -> tuple[Setting, ...]:
    """Returns the settings of a class, without those of its sections."""
    hints, rows = hints_of(owner), []
    for field in dataclasses.fields(owner):
        hint = hints[field.name]
        optional = get_origin(hint) is types.UnionType
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        usual = f"{default:g} is usual.".replace("e-0", "e-") if isinstance(default, int | float) else ""
        facts = {**field.metadata, "hint": field.metadata.get("hint") or usual}
        facts["strategies"] = field.metadata.get("strategies") or getattr(owner, "_strategies", ALL)
        kind = next(part for part in get_args(hint) if part is not types.NoneType) if optional else hint
        if not dataclasses.is_dataclass(kind):
            rows.append(Setting(name=field.name, owner=owner, kind=kind, optional=optional, default=default, **facts))
    return tuple(rows)


@functools.cache
def sections_of(owner: Any) -> dict[str, Any]:
    """Returns the fields of a class that are settings classes themselves, by name."""
    hints = hints_of(owner)
    every = {field.name: hints[field.name] for field in dataclasses.fields(owner)}
    return {name: kind for name, kind in every.items() if dataclasses.is_dataclass(kind)}


def describe(settings: type, name: str) -> str:
    """Returns the docstring under a field, for help texts. Raises KeyError for a field without one."""
    return _field_docs(settings)[name]


@functools.cache
def _field_docs(settings: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(settings)).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for item, following in zip(tree.body, tree.body[1:], strict=False):
        match item, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                docs[name] = inspect.cleandoc(str(text))
    return docs
