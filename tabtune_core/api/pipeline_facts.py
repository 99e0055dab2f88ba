"""The allowed content of ``pipeline.json``: only known entries, each of its type, and rows that fit its encoders.

In: values that were read, and the header of the context rows. Out: typed facts, or an error that says what is wrong.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from tabtune_core.data.encoding import DATED, PLAIN
from tabtune_core.data.text_features import DIRECTIONS, HASHES, PARTS
from tabtune_core.events import EVENTS, Event, RunFinished, from_json
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import check_fields, digest, entry, only, read_json, texts
from tabtune_core.files.tensors import Stored
from tabtune_core.upstream import Source

Merged = Literal["", "halves", "rare"]
KNOWN = {
    "": (
        *("format", "params", "base", "columns", "adapters", "active_adapter", "named", "classes", "classes_type"),
        *("merged", "history", "context"),
    ),
    "params": ("model_name", "task", "tuning_params", "tuning_strategy"),
    "context": ("sha256", "encoder", "classes", "rarer"),
    "context.encoder": ("categories", "texts", *PLAIN),
}
PREDICTS = {
    "numbers": 1,
    "dates": DATED["date"],
    "datetimes": DATED["datetime"],
    "times": DATED["time"],
    "texts": DIRECTIONS,
}
"""Features per column of each part of an encoder, categories aside."""
CLASSES_TYPE = re.compile(r"float64|[<>|=](?:O|b1|[iu][1248]|f[248]|U\d{1,7})")
"""NumPy types of arrays of text, numbers or booleans."""
LONGEST_CLASSES = 16_000_000
"""Most bytes of the array of classes."""
MOST_ADAPTERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFacts:
    """The content of ``pipeline.json`` except its rows and its history."""

    params: Mapping[str, Any]
    """Arguments of the pipeline's constructor."""
    base: Source
    columns: Sequence[Any]
    """Feature columns, by name or by position."""
    named: bool
    """Whether the columns have names."""
    adapters: Mapping[str, Mapping[str, Any]]
    """LoRA settings of each adapter by name, in their order."""
    active_adapter: str | None
    classes: Sequence[Any] = ()
    """Classes as the user gave them; empty for regression."""
    classes_type: str = "float64"
    """NumPy type of the array of classes."""
    merged: Merged = ""
    """How the classes were made of the table's labels: numbers split at their median, or rare classes merged."""

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as the file keeps them."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        adapters = [{"name": name, "lora": lora} for name, lora in self.adapters.items()]
        return {**own, "base": self.base.to_json(), "adapters": adapters}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Checks and reads the facts of a file.

        Raises:
            Damaged: naming an entry that is missing, or that a pipeline never writes.
        """
        _check(facts)
        adapters = {one["name"]: one["lora"] for one in facts["adapters"]}
        own = {name: facts[name] for name in ("params", "columns", "named", "classes", "classes_type", "merged")}
        return cls(base=Source.of_base(facts), adapters=adapters, active_adapter=facts.get("active_adapter"), **own)


def _check(facts: Mapping[str, Any]) -> None:
    for part, known in KNOWN.items():
        only(entry(facts, part, dict) if part else facts, known, f"'{part}'" if part else "it")
    for name in ("params.model_name", "params.task", "params.tuning_strategy"):
        entry(facts, name, str)
    digest(facts, "context.sha256")
    entry(facts, "params.tuning_params", (dict, type(None)))
    if entry(facts, "merged", str) not in get_args(Merged):
        raise Damaged("its entry 'merged' is not a way to make classes")
    columns = entry(facts, "columns", list)
    if entry(facts, "named", bool):
        texts(columns, "columns")
    _check_classes(facts)
    _check_adapters(facts)
    _check_encoder(facts)


def _check_classes(facts: Mapping[str, Any]) -> None:
    classes, kind = entry(facts, "classes", list), entry(facts, "classes_type", str)
    named = texts(entry(facts, "context.classes", list), "context.classes")
    if not all(isinstance(name, str | int | float) for name in classes) or len(classes) != len(named):
        raise Damaged("its classes differ from those of its rows")
    rarer = entry(facts, "context.rarer", (int, type(None)))
    if rarer is not None and (type(rarer) is not int or len(named) != 2 or rarer not in (0, 1)):
        raise Damaged(f"its entry 'context.rarer' is {str(rarer)[:20]!r}, which is not one of two classes")
    width = int(kind.partition("U")[2] or 8) if "U" in kind else 8
    if not CLASSES_TYPE.fullmatch(kind) or 4 * width * len(classes) > LONGEST_CLASSES:
        raise Damaged(f"its entry 'classes_type' is {kind[:20]!r}, which is not a type of classes")


def _check_adapters(facts: Mapping[str, Any]) -> None:
    adapters, active = entry(facts, "adapters", list), entry(facts, "active_adapter", (str, type(None)))
    names = texts([entry(adapter, "name", str) for adapter in adapters], "adapters")
    for adapter in adapters:
        only(adapter, ("name", "lora"), "an adapter")
        entry(adapter, "lora", dict)
    if len(names) > MOST_ADAPTERS or active not in (None, *names):
        allowed = f"at most {MOST_ADAPTERS} are allowed and the active one must be among them"
        raise Damaged(f"it holds {len(names):,} adapters, but {allowed}")


def _check_encoder(facts: Mapping[str, Any]) -> None:
    encoder = facts["context"]["encoder"]
    for name in ("texts", *PLAIN):
        texts(entry(encoder, name, list), name)
    for levels in entry(encoder, "categories", dict).values():
        if not isinstance(levels, list) or not levels or not all(isinstance(level, str | None) for level in levels):
            raise Damaged("the categories of a column are not a list of texts")
        if len(set(levels)) < len(levels):
            raise Damaged("the categories of a column contain a value twice")
    if not {*encoder["categories"], *(name for part in PREDICTS for name in encoder[part])} <= set(facts["columns"]):
        raise Damaged("it predicts from columns that it does not name")


def check_rows(encoder: Mapping[str, Any], classes: int, tensors: Mapping[str, Stored]) -> None:
    """Refuses context rows whose tensors do not have the types and shapes that their encoders produce.

    Raises:
        Damaged: saying what is expected.
    """
    if "rows" not in tensors:
        raise Damaged("it has no context rows")
    rows, texts = tensors["rows"], len(encoder["texts"])
    features = len(encoder["categories"]) + sum(each * len(encoder[part]) for part, each in PREDICTS.items())
    learnt = {"rarity": ("F64", (HASHES,)), "weights": ("I16", (DIRECTIONS, HASHES))}
    wanted = {
        **{f"text/{i}/{part}": learnt[part] for i in range(texts) for part in PARTS},
        "rows": ("I64", (rows.numbers,)),
        "x": ("F64", (rows.numbers, features)),
        "y": ("I64" if classes else "F64", (rows.numbers,)),
    }
    actual = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    if actual != wanted or not rows.numbers:
        raise Damaged(f"its context rows are {actual}, and its encoders make {wanted}")


def read_history(history: Any) -> tuple[Event, ...]:
    """Reads the events of a fit; the last is its result.

    Raises:
        Damaged: ``history`` is not a list of events that ends with a result.
    """
    events = list[Event]()
    for pair in history if isinstance(history, list) else [None]:
        match pair:
            case [str(kind), str(payload)] if kind in EVENTS:
                read_json(payload.encode())
                events.append(from_json(kind, payload))
                check_fields(events[-1])
            case _:
                raise Damaged("its history is not a list of events")
    if not events or not isinstance(events[-1], RunFinished):
        raise Damaged("its history has no result")
    return tuple(events)
