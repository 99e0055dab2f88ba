"""The file of a whole pipeline: one zip of safetensors and JSON, read without running any code in it.

``pipeline.json`` has the settings, classes, encoders and measurements; ``weights.safetensors`` has the trained tensors
(those of adapters, or all weights; the base itself is named by its SHA-256); ``context.safetensors`` has the context
rows of predictions.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from tabtune_core.data.encoding import LARGEST, FeatureEncoder, LabelEncoder
from tabtune_core.data.task import Context
from tabtune_core.data.text_features import DIRECTIONS, HASHES
from tabtune_core.errors import PipelineError
from tabtune_core.events import Event, MemorySampled, RunFinished, from_json, to_json
from tabtune_core.files.archives import FREE_BYTES, LARGEST_FILE_BYTES, open_archive
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import check_fields, only, read_json, texts
from tabtune_core.files.tensors import check_finite, read_tensors
from tabtune_core.files.whole import in_one_move
from tabtune_core.shortage import named
from tabtune_core.upstream import Source

FACTS, WEIGHTS, CONTEXT = "pipeline.json", "weights.safetensors", "context.safetensors"
FORMAT = 1
FACTS_LIMIT_BYTES = 32_000_000
"""Limit of ``pipeline.json``, most of which is the history of the fit: some hundred bytes per step."""
MOST_EVENTS = 50_000
"""Most events of a saved history; a longer one loses its memory samples and its earliest events."""


Merged = Literal["", "halves", "rare"]
CLASSES_TYPES = (
    *("object", "str", "bool", "float16", "float32", "float64"),
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
)
"""NumPy types of arrays of text, numbers or booleans."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFacts:
    """The content of ``pipeline.json`` except its rows and its history."""

    params: dict[str, Any]
    """Arguments of the pipeline's constructor."""
    base: Source
    columns: tuple[str | int, ...]
    """Feature columns, by name or by position."""
    named: bool
    """Whether the columns have names."""
    adapters: dict[str, dict[str, Any]]
    """LoRA settings of each adapter by name, in their order."""
    active_adapter: str | None
    classes: tuple[str | int | float | bool, ...] = ()
    """Classes as the user gave them; empty for regression."""
    classes_type: str = "float64"
    """NumPy type of the array of classes."""
    merged: Merged = ""
    """How the classes were made of the table's labels: numbers split at their median, or rare classes merged."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Checks and reads the facts of a file; raises Damaged for an entry that a pipeline never writes."""
        known = [field.name for field in fields(cls)]
        only(facts, (*known, "format", "context", "history"), "it")
        own: dict[str, Any] = {name: tuple(one) if isinstance(one := facts[name], list) else one for name in known}
        made = cls(**{**own, "base": Source.of_base(facts)})
        check_fields(made)
        if made.named:
            texts(facts["columns"], "columns")
        if made.classes_type not in CLASSES_TYPES:
            raise Damaged(f"its entry 'classes_type' is {made.classes_type[:20]!r}, which is not a type of classes")
        if made.active_adapter not in (None, *made.adapters):
            raise Damaged("its active adapter is not among its adapters")
        return made


@dataclass(frozen=True, slots=True)
class PipelineContent:
    """The content of a file."""

    facts: PipelineFacts
    tensors: dict[str, torch.Tensor]
    """Trained tensors, on the CPU."""
    context: Context
    history: tuple[Event, ...] = ()


def write_pipeline(path: Path, content: PipelineContent) -> None:
    """Writes the zip atomically: a half-written file never has the final name.

    Raises:
        PipelineError: JSON cannot hold the type of the classes, or the file could not be opened again.
    """
    context, history = content.context, content.history
    if len(history) > MOST_EVENTS:
        history = tuple(event for event in history if not isinstance(event, MemorySampled))
    facts = {
        "format": FORMAT,
        **asdict(content.facts),
        "history": [to_json(event) for event in history[-MOST_EVENTS:]],
        "context": {
            "sha256": context.sha256,
            "encoder": context.encoder.to_json(),
            "classes": context.labels.classes,
            "rarer": context.rarer,
        },
    }
    try:
        text = json.dumps(facts)
        PipelineFacts.of(read_json(text.encode()))
    except Damaged as error:
        raise PipelineError(f"The pipeline cannot be saved, as its file could not be opened again: {error}.") from error
    except TypeError as error:
        kinds = "Its classes and settings must be texts, numbers or booleans."
        raise PipelineError(f"The pipeline cannot be saved: {error}. {kinds}") from error
    if len(text) > FACTS_LIMIT_BYTES:
        size = f"its {FACTS} would have {len(text) / 1e6:,.1f} MB"
        raise PipelineError(f"The pipeline cannot be saved: {size}. Leave out columns of many different texts.")
    rows: dict[str, NDArray[Any]] = {"rows": context.rows, "x": context.x_CF, "y": context.y_C}
    rows |= context.encoder.text_arrays
    saved = named("The pipeline was not saved", path.parent)
    with saved, in_one_move(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FACTS, text)
        archive.writestr(WEIGHTS, safetensors.torch.save(content.tensors))
        # rows of few different values compress so well that a reader would take the file for a decompression bomb
        how = zipfile.ZIP_STORED if context.x_CF.nbytes > FREE_BYTES // 2 else zipfile.ZIP_DEFLATED
        archive.writestr(CONTEXT, safetensors.numpy.save(rows), how)


def read_pipeline(path: Path) -> PipelineContent:
    """Reads a file.

    Raises:
        PipelineError: it is not a saved pipeline, is damaged, too large, or of another format.
    """
    end = f" It should be a zip with {FACTS}, {WEIGHTS} and {CONTEXT}: save the pipeline again, or copy the file again."
    if not path.exists():
        raise PipelineError(f"There is no saved pipeline at {path}.")
    with refused_as(PipelineError, f"{path.name} is not a saved pipeline", end), open_archive(path) as archive:
        content = read_json(archive.read(FACTS, most_bytes=FACTS_LIMIT_BYTES))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise Damaged(f"its pipeline format is not {FORMAT}, the one that this version reads")
        facts = PipelineFacts.of(content)
        weights = archive.read(WEIGHTS, most_bytes=LARGEST_FILE_BYTES)
        tensors = read_tensors(weights)
        check_finite(tensors)
        if facts.adapters and {name.partition("/")[0] for name in tensors} - set(map(str, range(len(facts.adapters)))):
            raise Damaged(f"its {WEIGHTS} holds tensors that do not belong to its adapters")
        context = _context(content["context"], facts.columns, archive.read(CONTEXT, most_bytes=LARGEST_FILE_BYTES))
        return PipelineContent(facts, safetensors.torch.load(weights), context, _history(content["history"]))


def _context(facts: Mapping[str, Any], columns: Sequence[Any], content: bytes) -> Context:
    labels, rows = LabelEncoder(tuple(facts["classes"])), safetensors.numpy.load(content)
    encoder = FeatureEncoder.from_json(facts["encoder"], rows)
    context = Context(rows["rows"], rows["x"], rows["y"], encoder, labels, facts["rarer"])
    if context.sha256 != facts["sha256"]:
        raise Damaged("its context rows do not have the hash that was stored with them")
    check_fields(encoder)
    check_fields(labels)
    if not 0 < len(context.rows) == len(context.x_CF) == len(context.y_C) or context.x_CF.ndim != 2:
        raise Damaged("its context rows do not have the shapes of rows")
    if context.rarer not in (None, 0, 1) or not set(encoder.columns) <= set(columns):
        raise Damaged("its context rows have other columns or classes than it names")
    texts = encoder.texts.values()
    if any(text.rarity_H.shape + text.weights_KH.shape != (HASHES, DIRECTIONS, HASHES) for text in texts):
        raise Damaged("its text encoder has another size than this version's")
    if not all(np.isfinite(text.rarity_H).all() for text in texts):
        raise Damaged("its text encoder holds numbers that are not finite")
    if context.x_CF.shape[1] != (made := encoder.transform(pd.DataFrame(columns=encoder.columns)).shape[1]):
        raise Damaged(f"its context rows have {context.x_CF.shape[1]} features, and its encoders make {made}")
    if (np.abs(context.x_CF) >= LARGEST).any() or not np.isfinite(context.y_C).all():
        raise Damaged("its context rows hold numbers that are too large or not finite")
    if labels.classes and not np.array_equal(np.unique(context.y_C), np.arange(len(labels.classes))):
        raise Damaged("the classes of its context rows differ from those that it names")
    return context


def _history(history: Any) -> tuple[Event, ...]:
    """Reads the events of a fit, of which the last is its result."""
    events = list[Event]()
    for kind, payload in history:
        read_json(payload.encode())
        events.append(from_json(kind, payload))
    if not events or not isinstance(events[-1], RunFinished):
        raise Damaged("its history has no result")
    return tuple(events)
