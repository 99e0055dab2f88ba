"""The allowed content of ``tabtune.json`` in an adapter package, and the tensors that fit it. Loads no torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from tabtune_core.data.findings import Kind, ReadAs, ReadingChoices
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import digest, entry, fits, only, restored, texts
from tabtune_core.files.tensors import FLOATS, Stored
from tabtune_core.lora.adapted_layer import PREFIX, SIDES, AdaptedLayer
from tabtune_core.settings import RunSettings
from tabtune_core.upstream import Source, checked_name

FORMAT = 1
TABLE, CONTEXT = ("name", "rows", "id"), ("rows", "sha256")
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
    """Class labels in the order of the probabilities; empty for regression; "class 1" and so on if left out."""
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
    best_step: int
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
            "reading": asdict(self.reading),
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
        """Checks and reads the facts of a file; raises Damaged or SettingError if an entry is missing or invalid."""
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise Damaged("it was made by another version; train it again")
        read = cls(
            base=Source.of_base(facts),
            table_name=checked_name(entry(facts, "table.name", str), "table"),
            table_rows=entry(facts, "table.rows", int),
            table_id=checked_name(entry(facts, "table.id", str), "table"),
            context_rows=entry(facts, "context.rows", list),
            context_sha256=digest(facts, "context.sha256"),
            labels_sha256=digest(facts, "labels_sha256") if "labels_sha256" in facts else None,
            classes=texts(entry(facts, "classes", list), "classes"),
            features=texts(entry(facts, "features", list), "features"),
            kinds=entry(facts, "kinds", dict),
            reading=restored(ReadingChoices, entry(facts, "reading", dict)),
            settings=RunSettings.from_dict(entry(facts, "settings", dict)),
            layers=tuple(map(AdaptedLayer.from_json, entry(facts, "layers", list))),
            biases=texts(entry(facts, "biases", list), "biases"),
            opens_with_peft=entry(facts, "opens_with_peft", bool),
            scores=entry(facts, "scores", dict),
            best_step=entry(facts, "best_step", int),
            versions=entry(facts, "versions", dict),
        )
        only(facts, read.to_json(), "it")
        only(facts["table"], TABLE, "'table'")
        only(facts["context"], CONTEXT, "'context'")
        read._check()
        return read

    def _check(self) -> None:
        known = self.kinds.keys() >= set(self.features) and all(kind in get_args(Kind) for kind in self.kinds.values())
        if not self.features or not known:
            raise Damaged("it does not give the kind of column of each feature")
        if self.settings.target in self.features:
            raise Damaged(f"its features hold the column that it predicts, {self.settings.target[:120]!r}")
        rows, most = self.context_rows, self.table_rows
        inside = all(type(row) is int and 0 <= row < most for row in rows)
        if not rows or not inside or len(set(rows)) < len(rows):
            raise Damaged(f"the rows of its context are not different rows of a table of {most:,}")
        settings = self.settings
        if settings.strategy != "peft" or settings.model != self.base.model:
            raise Damaged("its settings are not those of a LoRA run on its base model")
        if (settings.task == "classification") != bool(self.classes):
            raise Damaged(f"its settings are for {settings.task}, and it names {len(self.classes)} classes")
        if not self.layers:
            raise Damaged("it does not name an adapted layer")
        texts([layer.path for layer in self.layers], "layers")
        if not fits(self.scores, dict[str, dict[str, float]]) or not fits(self.versions, dict[str, str]):
            raise Damaged("its scores or versions are not values by name")

    @property
    def bytes_declared(self) -> int:
        """Upper bound of the tensors' size, computed from the layers: in 64 bits, with a variant's own tensors."""
        sizes = ((layer.out_features, layer.in_features, layer.rank) for layer in self.layers)
        numbers = sum(2 * rank * (out + width) + out for out, width, rank in sizes)
        return 1_000_000 + 8 * numbers + len(self.biases) * 1_000_000

    def check_tensors(self, tensors: Mapping[str, Stored]) -> None:
        """Raises Damaged for a tensor that does not belong to the layers and biases."""
        rest = dict(tensors)
        for layer in self.layers:
            own = [name for name in (f"{PREFIX}{layer.path}{end}" for ends in SIDES for end in ends) if name in rest]
            shapes = [rest.pop(name).shape for name in own]
            a, b = (layer.rank, layer.in_features), (layer.out_features, layer.rank)
            if shapes != [a, b]:
                where = f"the factors of its layer {layer.path[:120]!r}"
                raise Damaged(f"{where} have the shapes {shapes}, and not {a} and {b}")
        owners = tuple(f"{PREFIX}{layer.path}." for layer in self.layers)
        biases = {PREFIX + name for name in self.biases}
        for name, stored in tensors.items():
            if stored.dtype not in FLOATS:
                raise Damaged(f"its tensor {name[:120]!r} has the type {stored.dtype}, which no adapter has")
            if name in rest and not name.startswith(owners) and name not in biases:
                raise Damaged(f"its tensor {name[:120]!r} does not belong to a layer that it names")


def hash_of_labels(classes: Sequence[str]) -> str:
    """Returns the SHA-256 of class labels in their order."""
    return hashlib.sha256(json.dumps(list(classes)).encode()).hexdigest()
