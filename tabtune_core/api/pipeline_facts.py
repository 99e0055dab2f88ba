"""What ``pipeline.json`` may say: known entries alone, each of its kind, and rows that fit its encoders.

In: values that were read, and the header of the context rows. Out: nothing, or what is wrong.
"""

import re
from collections.abc import Mapping
from typing import Any

from tabtune_core.data.encoding import DATED, PLAIN
from tabtune_core.data.text_features import DIRECTIONS, HASHES, PARTS
from tabtune_core.events import EVENTS, Event, RunFinished, from_json
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import check_fields, entry, only, read_json, texts
from tabtune_core.files.tensors import Stored
from tabtune_core.lora.package_facts import BASE, HASH, check_licence

KNOWN = {
    "": (
        *("format", "params", "base", "columns", "adapters", "active_adapter", "named", "classes", "classes_type", "history"),
        "context",
    ),
    "params": ("model_name", "task", "tuning_params", "tuning_strategy"),
    "base": BASE,
    "context": ("sha256", "encoder", "classes"),
    "context.encoder": ("categories", "texts", *PLAIN),
}
PREDICTS = {"numbers": 1, "dates": DATED["date"], "datetimes": DATED["datetime"], "times": DATED["time"], "texts": DIRECTIONS}
"""Beside categories, the parts of an encoder, and how many features a column of each gives."""
CLASSES_TYPE = re.compile(r"float64|[<>|=](?:O|b1|[iu][1248]|f[248]|U\d{1,7})")
"""Kinds of numpy's arrays that hold texts, numbers or switches."""
LONGEST_CLASSES = 16_000_000
"""Bytes of the array of classes."""
MOST_ADAPTERS = 256


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuses facts that lack what a pipeline needs, or hold what a pipeline never writes.

    Raises:
        Damaged: naming the entry.
    """
    for part, known in KNOWN.items():
        only(entry(facts, part, dict) if part else facts, known, f"'{part}'" if part else "it")
    for name in ("params.model_name", "params.task", "params.tuning_strategy", "base.model", "base.file"):
        entry(facts, name, str)
    for name in ("base.sha256", "context.sha256"):
        if not HASH.fullmatch(entry(facts, name, str)):
            raise Damaged(f"its entry '{name}' is not a SHA-256")
    check_licence(facts)
    entry(facts, "params.tuning_params", (dict, type(None)))
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
        raise Damaged("its classes are not those of its rows")
    width = int(kind.partition("U")[2] or 8) if "U" in kind else 8
    if not CLASSES_TYPE.fullmatch(kind) or 4 * width * len(classes) > LONGEST_CLASSES:
        raise Damaged(f"its entry 'classes_type' is {kind[:20]!r}, which classes cannot be")


def _check_adapters(facts: Mapping[str, Any]) -> None:
    if "adapters" not in facts:
        return
    adapters, active = entry(facts, "adapters", list), entry(facts, "active_adapter", (str, type(None)))
    names = texts([entry(adapter, "name", str) for adapter in adapters], "adapters")
    for adapter in adapters:
        only(adapter, ("name", "lora"), "an adapter")
        entry(adapter, "lora", dict)
    if len(names) > MOST_ADAPTERS or active not in (None, *names):
        raise Damaged(f"it holds {len(names):,} adapters, and the one that is on is not among them")


def _check_encoder(facts: Mapping[str, Any]) -> None:
    encoder = facts["context"]["encoder"]
    for name in ("texts", "datetimes", "times", "month_first"):
        encoder.setdefault(name, [])  # earlier versions did not write it
    for name in ("texts", *PLAIN):
        texts(entry(encoder, name, list), name)
    for levels in entry(encoder, "categories", dict).values():
        if not isinstance(levels, list) or not levels or not all(isinstance(level, str | None) for level in levels):
            raise Damaged("the categories of a column are not a list of texts")
        if len(set(levels)) < len(levels):
            raise Damaged("the categories of a column name one thing twice")
    if not {*encoder["categories"], *(name for part in PREDICTS for name in encoder[part])} <= set(facts["columns"]):
        raise Damaged("it predicts from columns that it does not name")


def check_rows(encoder: Mapping[str, Any], classes: int, tensors: Mapping[str, Stored]) -> None:
    """Refuses context rows of another shape than their encoders make.

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
    """What the fit reported; the last is its result.

    Raises:
        Damaged: it is not such a list.
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
