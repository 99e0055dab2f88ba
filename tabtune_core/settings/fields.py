"""The table of settings: what is said once of each, for all that read settings.

In: settings classes whose fields are made by ``setting``. Out: a row a field. From the rows are made the checks of values, the form, the
command line's flags, a pipeline's arguments, TOML, the labels of runs and what the leaderboard says of them.
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
Strategy = Literal["inference", "base-ft", "peft", "linear", "boosting"]
ALL: tuple[Strategy, ...] = get_args(Strategy)
TRAINED: tuple[Strategy, ...] = ("base-ft", "peft")
"""Strategies that train a foundation model."""
MODELS: tuple[Strategy, ...] = ("inference", *TRAINED)
"""Strategies that use one."""
LORA: tuple[Strategy, ...] = ("peft",)


@dataclass(frozen=True, slots=True)
class Idle:
    """When a setting changes nothing: the form then hides it, and setting it is an error."""

    other: str
    """The setting that decides."""
    value: object
    """The value of that one."""
    why: str
    """What to say after "changes nothing"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting."""

    name: str
    owner: type
    """The class that has it."""
    kind: Any
    """Its type, without None."""
    optional: bool
    """Whether it may be None."""
    default: Any

    low: float | None = None
    """The least value of a number, or of each number of several."""
    above: float | None = None
    """The same, where this value itself is too small."""
    high: float | None = None
    below: float | None = None
    hint: str = ""
    """What to say beside the bounds; unless given, that the default of a number is usual."""

    strategies: tuple[Strategy, ...]
    """Those that it matters to."""
    idle: Idle | None = None
    replaced_by: str = ""
    """A setting that takes its place where it is set."""
    axis: str = ""
    """Of a sweep: the setting of which it lists values."""
    counted: str = ""
    """What one of these values is called where they are counted."""

    label: str = ""
    """In the form; the tooltip is the docstring under the field."""
    place: str = ""
    """The part of the form that draws it by its type; empty: it is drawn by hand, or not at all."""
    step: float = 1
    """How far the buttons of a number field go."""
    format: str = "%g"
    """How a number field writes a number that need not be whole."""
    placeholder: str = ""

    argument: str | None = ""
    """What a pipeline calls it, where that is another name; None: a pipeline has no use for it."""
    said: Callable[[Any], str] | None = None
    """Its value in the label of a run, where that is not the default."""
    column: bool = False
    """Whether the leaderboard has it in a column, or need not tell it."""

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
    """A field of a settings class; ``facts`` are the other attributes of ``Setting``."""
    facts |= {"label": label, "place": place}
    field: Any = dataclasses.field(metadata=facts, **({"default_factory": dict, "hash": False} if default == {} else {"default": default}))
    made: Value = field
    return made


@functools.cache
def rows_of(owner: Any) -> tuple[Setting, ...]:
    """The settings of a class, without its sections."""
    hints, rows = hints_of(owner), []
    for field in dataclasses.fields(owner):
        hint = hints[field.name]
        optional = get_origin(hint) is types.UnionType
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        usual = f"{default:g} is usual.".replace("e-0", "e-") if isinstance(default, int | float) else ""
        facts = {"strategies": getattr(owner, "_strategies", ALL), "hint": usual, **field.metadata}
        kind = next(part for part in get_args(hint) if part is not types.NoneType) if optional else hint
        if not dataclasses.is_dataclass(kind):
            rows.append(Setting(name=field.name, owner=owner, kind=kind, optional=optional, default=default, **facts))
    return tuple(rows)


@functools.cache
def sections_of(owner: Any) -> dict[str, Any]:
    """The fields of a class that are settings classes themselves."""
    hints = hints_of(owner)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner) if dataclasses.is_dataclass(hints[field.name])}


def describe(settings: type, name: str) -> str:
    """The docstring under a field, for help texts. Raises KeyError for a field without one."""
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
