"""The allowed content of ``tabtune.json`` in an adapter package: only known entries, each of its type, and tensors that
fit its layers.

In: values that were read, and the header of the tensors. Out: typed facts, or an error that says what is wrong. Loads
no torch.
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
from tabtune_core.lora.adapted_layer import PREFIX, SIDES, AdaptedLayer, may_scale
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.upstream import Source, name_entry

FORMAT = 1
KNOWN = {
    "": (
        *(
            "format",
            "layers",
            "biases",
            "opens_with_peft",
            "base",
            "settings",
            "classes",
            "table",
            "reading",
            "kinds",
            "features",
        ),
        *("context", "scores", "best_step", "versions", "labels_sha256"),
    ),
    "table": ("name", "rows", "id"),
    "context": ("rows", "sha256"),
}
MOST_STRENGTH = 1e30
"""Largest alpha: with a larger one the update may overflow 32 bits."""
Scores = Mapping[str, Mapping[str, float]]
"""Scores by part of the rows, then by metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """All that is needed to use an adapter, except its tensors; no row of the table."""

    layers: tuple[AdaptedLayer, ...]
    biases: tuple[str, ...]
    """Names of the base's parameters that trained beside the adapter."""
    opens_with_peft: bool = False
    base: Source
    settings: RunSettings
    classes: tuple[str, ...]
    """Class labels in the order of the probabilities; empty for regression; "class 1" and so on if the labels were left
    out.
    """
    labels_sha256: str | None = None
    """SHA-256 of the class labels, if they were left out."""
    table_name: str
    table_rows: int
    table_id: str
    reading: ReadingChoices
    kinds: Mapping[str, Kind]
    """Kinds of the table's columns, in their order."""
    features: tuple[str, ...]
    """Feature columns, in the order of the encoder."""
    context_rows: Sequence[int]
    """Row numbers of the context of the run's predictions."""
    context_sha256: str
    scores: Scores
    best_step: int | None = None
    versions: Mapping[str, str]

    @property
    def label_hash(self) -> str:
        """SHA-256 of the class labels in their order, whether the package names them or leaves them out."""
        return self.labels_sha256 or hash_of_labels(self.classes)

    @property
    def checkpoint(self) -> str | None:
        """File name of the base's weights if the user supplied them; otherwise None."""
        return None if self.settings.checkpoint is None else self.base.file

    @property
    def read_as(self) -> ReadAs:
        """How the run's table was read, so that new rows are read the same way."""
        return ReadAs(self.reading, self.kinds, self.features, self.settings.target)

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as files keep them; ``from_json`` reads them back."""
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
        """Checks and reads the facts of a file.

        Raises:
            Damaged: an entry is missing or invalid.
            SettingError: a setting is invalid.
        """
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise Damaged(f"its package format is not {FORMAT}, the one that this version reads")
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
            settings=RunSettings.from_dict(entry(facts, "settings", dict)),
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
            raise Damaged("it does not give the kind of column of each feature")
        rows, most = self.context_rows, self.table_rows
        if (
            not rows
            or not all(type(row) is int and 0 <= row < most for row in rows)
            or np.unique(rows).size < len(rows)
        ):
            raise Damaged(f"the rows of its context are not different rows of a table of {most:,}")
        settings = self.settings
        if settings.strategy != "peft" or settings.model != self.base.model:
            raise Damaged("its settings are not those of a LoRA run on its base model")
        if (settings.task == "classification") != bool(self.classes):
            raise Damaged(f"its settings are for {settings.task}, and it names {len(self.classes)} classes")
        check_strength(settings.lora)
        if not self.layers:
            raise Damaged("it does not name an adapted layer")
        texts([layer.path for layer in self.layers], "layers")
        lora = settings.lora
        odd = (layer for layer in self.layers if layer.variant != lora.variant or not may_scale(lora, layer.scaling))
        if (layer := next(odd, None)) is not None:
            raise Damaged(
                f"its layer {layer.path[:120]!r} has the scaling {layer.scaling:g} ({layer.variant}), unlike its "
                "settings"
            )
        if not fits(self.scores, dict[str, dict[str, float]]) or not fits(self.versions, dict[str, str]):
            raise Damaged("its scores or versions are not values by name")

    @property
    def bytes_declared(self) -> int:
        """Upper bound of the tensors' size, computed from the layers: in 64 bits, with a variant's own tensors."""
        numbers = sum(
            2 * layer.rank * (layer.out_features + layer.in_features) + layer.out_features for layer in self.layers
        )
        return 1_000_000 + 8 * numbers + len(self.biases) * 1_000_000

    def check_tensors(self, tensors: Mapping[str, Stored]) -> None:
        """Refuses tensors that do not belong to the layers and biases.

        Raises:
            Damaged: naming such a tensor.
        """
        rest = dict(tensors)
        for layer in self.layers:
            own = [name for name in (f"{PREFIX}{layer.path}{end}" for ends in SIDES for end in ends) if name in rest]
            shapes, wanted = (
                [rest.pop(name).shape for name in own],
                [(layer.rank, layer.in_features), (layer.out_features, layer.rank)],
            )
            if shapes != wanted:
                raise Damaged(
                    f"the factors of its layer {layer.path[:120]!r} have the shapes {shapes}, and not {wanted[0]} "
                    f"and {wanted[1]}"
                )
        owners, biases = (
            tuple(f"{PREFIX}{layer.path}." for layer in self.layers),
            {PREFIX + name for name in self.biases},
        )
        for name, stored in tensors.items():
            if stored.dtype not in FLOATS:
                raise Damaged(
                    f"its tensor {name[:120]!r} has the type {stored.dtype}; an adapter has {', '.join(FLOATS)}"
                )
            if name in rest and not name.startswith(owners) and name not in biases:
                raise Damaged(f"its tensor {name[:120]!r} does not belong to a layer that it names")


def hash_of_labels(classes: Sequence[str]) -> str:
    """Returns the SHA-256 of class labels in their order."""
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()


def check_strength(lora: LoraSettings) -> None:
    """Refuses alphas whose update would overflow.

    Raises:
        Damaged: naming the largest alpha.
    """
    largest = max([lora.effective_alpha, *lora.alpha_pattern.values()])
    if largest > MOST_STRENGTH:
        raise Damaged(f"its alpha is {largest:g}, and above {MOST_STRENGTH:g} its update would overflow 32 bits")
