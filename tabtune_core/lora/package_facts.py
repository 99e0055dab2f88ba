"""What ``tabtune.json`` of an adapter package may say: known entries alone, each of its kind, and tensors as its layers declare them.

In: values that were read, and the header of the tensors. Out: the settings of the run, or what is wrong. Loads no torch.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from tabtune_core.data.findings import Kind, ReadingChoices
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import entry, only, texts
from tabtune_core.files.tensors import FLOATS, Stored
from tabtune_core.settings import LoraSettings, RunSettings

PREFIX = "base_model.model."
"""What PEFT puts before the name of every tensor."""
SIDES = ((".lora_A.weight", ".lora_embedding_A"), (".lora_B.weight", ".lora_embedding_B"))
"""Ends of the names of the factors A and B, of a layer and of a table that is looked up."""
LABELS_SHA256 = "labels_sha256"
"""The entry of a package whose class labels were left out: it knows them by their hash."""
BASE = ("model", "file", "repository", "revision", "sha256", "licence")
"""What a file says of the weights that it belongs to; those of earlier versions do not name a licence."""
KNOWN = {
    "": (
        *("format", "layers", "biases", "opens_with_peft", "base", "settings", "classes", "table", "reading", "kinds", "features"),
        *("context", "scores", "best_step", "versions", LABELS_SHA256),
    ),
    "base": BASE,
    "table": ("name", "rows", "id"),
    "context": ("rows", "sha256"),
}
LAYER: dict[str, Any] = {
    "path": str,
    "target": str,
    "kind": str,
    "out_features": int,
    "in_features": int,
    "rank": int,
    "alpha": (int, float),
    "capped": bool,
    "use_rslora": bool,
    "scaling": (int, float),
    "parameters": int,
}
VARIANT = ("variant", "use_dora")
"""The first; in earlier versions the second."""
LONGEST_NAME = 1_000
"""Letters in the names that a page shows: of the file of a table, of weights."""
MOST_STRENGTH = 1e30
"""Largest alpha: beyond it an update soon overflows 32 bits."""
HASH = re.compile(r"[0-9a-f]{64}")


def check_facts(facts: Any) -> RunSettings:
    """The settings of the run that made a package, once all that a prediction needs is there and of its kind.

    Raises:
        Damaged: naming the entry.
        SettingError: naming the setting.
    """
    for part, known in KNOWN.items():
        only(entry(facts, part, dict) if part else facts, known, f"'{part}'" if part else "it")
    for name in ("base.model", "base.file", "table.name", "table.id"):
        if not 0 < len(entry(facts, name, str)) <= LONGEST_NAME:
            raise Damaged(f"its entry '{name}' is not a valid name of a table or file")
    for name in ("base.sha256", "context.sha256"):
        if not HASH.fullmatch(entry(facts, name, str)):
            raise Damaged(f"its entry '{name}' is not a SHA-256")
    check_licence(facts)
    if not HASH.fullmatch(entry({LABELS_SHA256: "0" * 64, **facts}, LABELS_SHA256, str)):
        raise Damaged(f"its entry '{LABELS_SHA256}' is not a SHA-256")
    _check_columns(facts)
    _check_rows(facts)
    ReadingChoices.from_json(entry(facts, "reading", dict))
    settings = RunSettings.of_package(entry(facts, "settings", dict))
    if settings.strategy != "peft" or settings.model != facts["base"]["model"]:
        raise Damaged("its settings are not those of a LoRA run")
    if (settings.task == "classification") != bool(facts["classes"]):
        raise Damaged(f"its settings are for {settings.task}, and it names {len(facts['classes'])} classes")
    check_strength(settings.lora)
    _check_layers(entry(facts, "layers", list))
    texts(entry(facts, "biases", list), "biases")
    return settings


def check_licence(facts: Mapping[str, Any]) -> None:
    """Refuses a licence of the base that is not a name and whether commercial use is allowed.

    Raises:
        Damaged: naming the entry.
    """
    if facts["base"].get("licence") is not None:
        only(entry(facts, "base.licence", dict), ("name", "commercial"), "'base.licence'")
        entry(facts, "base.licence.commercial", (bool, type(None)))
        if len(entry(facts, "base.licence.name", (str, type(None))) or "") > LONGEST_NAME:
            raise Damaged("its entry 'base.licence.name' is too long")


def labels_sha256(facts: Mapping[str, Any]) -> str:
    """Of the class labels in their order, which a package names or leaves out."""
    return str(facts.get(LABELS_SHA256) or hashlib.sha256(json.dumps(list(facts["classes"])).encode()).hexdigest())


def check_strength(lora: LoraSettings) -> None:
    """Refuses alphas whose update would overflow.

    Raises:
        Damaged: naming the largest.
    """
    largest = max([lora.effective_alpha, *lora.alpha_pattern.values()])
    if largest > MOST_STRENGTH:
        raise Damaged(f"its alpha is {largest:g}, and above {MOST_STRENGTH:g} its update would overflow 32 bits")


def _check_columns(facts: Mapping[str, Any]) -> None:
    texts(entry(facts, "classes", list), "classes")
    features, kinds = texts(entry(facts, "features", list), "features"), entry(facts, "kinds", dict)
    if not features or not all(kind in get_args(Kind) for kind in kinds.values()) or not kinds.keys() >= set(features):
        raise Damaged("it does not say of each feature what kind of column it is")


def _check_rows(facts: Mapping[str, Any]) -> None:
    rows, table = entry(facts, "context.rows", list), entry(facts, "table.rows", int)
    if not rows or not all(type(row) is int and 0 <= row < table for row in rows) or np.unique(rows).size < len(rows):
        raise Damaged(f"the rows of its context are not different rows of a table of {table:,}")


def _check_layers(layers: list[Any]) -> None:
    if not layers:
        raise Damaged("it does not name an adapted layer")
    for layer in layers:
        for name, kind in LAYER.items():
            entry(layer, name, kind)
        only(layer, (*LAYER, *VARIANT), "a layer")
        if not 1 <= layer["rank"] <= min(layer["out_features"], layer["in_features"]) or layer["out_features"] >= 2**24:
            raise Damaged(f"its layer {layer['path'][:120]!r} has the rank {layer['rank']}, which is impossible for its shape")
    texts([layer["path"] for layer in layers], "layers")


def bytes_declared(facts: Mapping[str, Any]) -> int:
    """The most that the tensors can take, by the layers that the package names: in 64 bits, with what a variant has beside A and B."""
    numbers = sum(2 * layer["rank"] * (layer["out_features"] + layer["in_features"]) + layer["out_features"] for layer in facts["layers"])
    return 1_000_000 + 8 * int(numbers) + len(facts["biases"]) * 1_000_000


def check_tensors(facts: Mapping[str, Any], tensors: Mapping[str, Stored]) -> None:
    """Refuses tensors that are not those of the layers and biases that the package names.

    Raises:
        Damaged: naming one.
    """
    rest = dict(tensors)
    for layer in facts["layers"]:
        own = [name for name in (f"{PREFIX}{layer['path']}{end}" for ends in SIDES for end in ends) if name in rest]
        shapes = [rest.pop(name).shape for name in own]
        rank, out, width = layer["rank"], layer["out_features"], layer["in_features"]
        if shapes != [(rank, width), (out, rank)]:
            raise Damaged(
                f"the factors of its layer {layer['path'][:120]!r} have the shapes {shapes}, and not {(rank, width)} and {(out, rank)}"
            )
    owners = tuple(f"{PREFIX}{path}." for path in [layer["path"] for layer in facts["layers"]])
    biases = {PREFIX + name for name in facts["biases"]}
    for name, stored in tensors.items():
        if stored.dtype not in FLOATS:
            raise Damaged(f"its tensor {name[:120]!r} has the type {stored.dtype}; an adapter has {', '.join(FLOATS)}")
        if name in rest and not name.startswith(owners) and name not in biases:
            raise Damaged(f"its tensor {name[:120]!r} does not belong to a layer that it names")
