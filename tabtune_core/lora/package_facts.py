"""What ``tabtune.json`` of an adapter package may say: known entries alone, each of its kind, and tensors as its layers declare them.

In: values that were read, and the header of the tensors. Out: the same as typed facts, or what is wrong. Loads no torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from tabtune_core.data.findings import Kind, ReadAs, ReadingChoices
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import digest, entry, fits, only, texts
from tabtune_core.files.tensors import FLOATS, Stored
from tabtune_core.lora.adapted_layer import PREFIX, SIDES, AdaptedLayer
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.upstream import Source, name_entry

FORMAT = 1
KNOWN = {
    "": (
        *("format", "layers", "biases", "opens_with_peft", "base", "settings", "classes", "table", "reading", "kinds", "features"),
        *("context", "scores", "best_step", "versions", "labels_sha256"),
    ),
    "table": ("name", "rows", "id"),
    "context": ("rows", "sha256"),
}
MOST_STRENGTH = 1e30
"""Largest alpha: beyond it an update soon overflows 32 bits."""
Scores = Mapping[str, Mapping[str, float]]
"""By part of the rows and by metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """All that is needed to use an adapter, but for its tensors; no row of the table."""

    layers: tuple[AdaptedLayer, ...]
    biases: tuple[str, ...]
    """Names of the base's parameters that trained beside the adapter."""
    opens_with_peft: bool = False
    base: Source
    settings: RunSettings
    """Of the run that made it."""
    classes: tuple[str, ...]
    """In the order of the probabilities; empty where numbers are predicted, and "class 1" and so on where their names were left out."""
    labels_sha256: str | None = None
    """Of the class labels, where their names were left out."""
    table_name: str
    table_rows: int
    table_id: str
    reading: ReadingChoices
    kinds: Mapping[str, Kind]
    """Of the columns of the table, in its order."""
    features: tuple[str, ...]
    """Columns to predict from, in the order of the encoder."""
    context_rows: Sequence[int]
    """Numbers of the rows that the run's predictions were shown."""
    context_sha256: str
    scores: Scores
    best_step: int | None = None
    versions: Mapping[str, str]
    """Of packages."""

    @property
    def label_hash(self) -> str:
        """SHA-256 of the class labels in their order, whether the package names them or leaves them out."""
        return self.labels_sha256 or hash_of_labels(self.classes)

    @property
    def checkpoint(self) -> str | None:
        """File name of the base, where a person supplied it."""
        return None if self.settings.checkpoint is None else self.base.file

    @property
    def read_as(self) -> ReadAs:
        """How its table was read, for new rows."""
        return ReadAs(self.reading, self.kinds, self.features, self.settings.target)

    def to_json(self) -> dict[str, Any]:
        """As files keep it; ``from_json`` gives the same facts back."""
        return {
            "format": FORMAT,
            "layers": [layer.to_json() for layer in self.layers],
            "biases": list(self.biases),
            "opens_with_peft": self.opens_with_peft,
            "base": self.base.to_json(),
            "settings": self.settings.to_dict(),
            "classes": list(self.classes),
            "table": {"name": self.table_name, "rows": self.table_rows, "id": self.table_id},
            "reading": self.reading.to_json(),
            "kinds": dict(self.kinds),
            "features": list(self.features),
            "context": {"rows": list(self.context_rows), "sha256": self.context_sha256},
            "scores": self.scores,
            "best_step": self.best_step,
            "versions": self.versions,
            **({} if self.labels_sha256 is None else {"labels_sha256": self.labels_sha256}),
        }

    @classmethod
    def from_json(cls, facts: Any) -> "PackageFacts":
        """What a file says, once all that a prediction needs is there and of its kind.

        Raises:
            Damaged: naming the entry.
            SettingError: naming the setting.
        """
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise Damaged(f"it is not of the package format {FORMAT} that this version reads")
        for part, known in KNOWN.items():
            only(entry(facts, part, dict) if part else facts, known, f"'{part}'" if part else "it")
        whole = {"opens_with_peft": False, "scores": {}, "best_step": None, "versions": {}, **facts}
        read = cls(
            base=Source.of_base(facts),
            table_name=name_entry(facts, "table.name"),
            table_rows=entry(facts, "table.rows", int),
            table_id=name_entry(facts, "table.id"),
            context_rows=entry(facts, "context.rows", list),
            context_sha256=digest(facts, "context.sha256"),
            labels_sha256=digest(facts, "labels_sha256") if "labels_sha256" in facts else None,
            classes=texts(entry(facts, "classes", list), "classes"),
            features=texts(entry(facts, "features", list), "features"),
            kinds=entry(facts, "kinds", dict),
            reading=ReadingChoices.from_json(entry(facts, "reading", dict)),
            settings=RunSettings.of_package(entry(facts, "settings", dict)),
            layers=tuple(map(AdaptedLayer.from_json, entry(facts, "layers", list))),
            biases=texts(entry(facts, "biases", list), "biases"),
            opens_with_peft=entry(whole, "opens_with_peft", bool),
            scores=entry(whole, "scores", dict),
            best_step=entry(whole, "best_step", (int, type(None))),
            versions=entry(whole, "versions", dict),
        )
        read._check()
        return read

    def _check(self) -> None:
        if (
            not self.features
            or not all(kind in get_args(Kind) for kind in self.kinds.values())
            or not self.kinds.keys() >= set(self.features)
        ):
            raise Damaged("it does not say of each feature what kind of column it is")
        rows, most = self.context_rows, self.table_rows
        if not rows or not all(type(row) is int and 0 <= row < most for row in rows) or np.unique(rows).size < len(rows):
            raise Damaged(f"the rows of its context are not different rows of a table of {most:,}")
        settings = self.settings
        if settings.strategy != "peft" or settings.model != self.base.model:
            raise Damaged("its settings are not those of a LoRA run")
        if (settings.task == "classification") != bool(self.classes):
            raise Damaged(f"its settings are for {settings.task}, and it names {len(self.classes)} classes")
        check_strength(settings.lora)
        if not self.layers:
            raise Damaged("it does not name an adapted layer")
        texts([layer.path for layer in self.layers], "layers")
        if not fits(self.scores, dict[str, dict[str, float]]) or not fits(self.versions, dict[str, str]):
            raise Damaged("its scores or versions are not values by name")

    @property
    def bytes_declared(self) -> int:
        """The most that the tensors can take, by the layers: in 64 bits, with what a variant has beside A and B."""
        numbers = sum(2 * layer.rank * (layer.out_features + layer.in_features) + layer.out_features for layer in self.layers)
        return 1_000_000 + 8 * numbers + len(self.biases) * 1_000_000

    def check_tensors(self, tensors: Mapping[str, Stored]) -> None:
        """Refuses tensors that are not those of the layers and biases.

        Raises:
            Damaged: naming one.
        """
        rest = dict(tensors)
        for layer in self.layers:
            own = [name for name in (f"{PREFIX}{layer.path}{end}" for ends in SIDES for end in ends) if name in rest]
            shapes, wanted = [rest.pop(name).shape for name in own], [(layer.rank, layer.in_features), (layer.out_features, layer.rank)]
            if shapes != wanted:
                raise Damaged(
                    f"the factors of its layer {layer.path[:120]!r} have the shapes {shapes}, and not {wanted[0]} and {wanted[1]}"
                )
        owners, biases = tuple(f"{PREFIX}{layer.path}." for layer in self.layers), {PREFIX + name for name in self.biases}
        for name, stored in tensors.items():
            if stored.dtype not in FLOATS:
                raise Damaged(f"its tensor {name[:120]!r} has the type {stored.dtype}; an adapter has {', '.join(FLOATS)}")
            if name in rest and not name.startswith(owners) and name not in biases:
                raise Damaged(f"its tensor {name[:120]!r} does not belong to a layer that it names")


def hash_of_labels(classes: Sequence[str]) -> str:
    """SHA-256 of class labels in their order."""
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()


def check_strength(lora: LoraSettings) -> None:
    """Refuses alphas whose update would overflow.

    Raises:
        Damaged: naming the largest.
    """
    largest = max([lora.effective_alpha, *lora.alpha_pattern.values()])
    if largest > MOST_STRENGTH:
        raise Damaged(f"its alpha is {largest:g}, and above {MOST_STRENGTH:g} its update would overflow 32 bits")
