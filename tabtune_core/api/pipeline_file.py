"""The file of a whole pipeline: one zip of safetensors and JSON, read without running any code in it.

``pipeline.json`` has the settings, classes, encoders and what was measured; ``weights.safetensors`` what was trained (the factors of
an adapter, or all weights; the base itself is named by its SHA-256); ``context.safetensors`` the rows that predictions are shown.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from tabtune_core.data.encoding import FeatureEncoder, LabelEncoder, NumberEncoder
from tabtune_core.data.task import Context
from tabtune_core.errors import PipelineError
from tabtune_core.lora.package_reader import DAMAGED

FACTS, WEIGHTS, CONTEXT = "pipeline.json", "weights.safetensors", "context.safetensors"
FORMAT = 2
READABLE = (1, FORMAT)
"""The first had the tensors of one adapter under their own names, and no entry ``adapters``."""
NEEDED = {"params", "base", "columns", "named", "classes", "classes_type", "history", "context"}
"""Entries of ``pipeline.json`` without which there is no pipeline."""


@dataclass(frozen=True, slots=True)
class PipelineContent:
    """What a file holds."""

    facts: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    """Of what was trained, on the CPU."""
    context: Context


def write_pipeline(path: Path, content: PipelineContent) -> None:
    """Writes the zip in one move: a half-written file never bears the final name.

    Raises:
        PipelineError: the classes are of a kind that JSON does not know.
    """
    context = content.context
    facts = {
        "format": FORMAT,
        **content.facts,
        "context": {"sha256": context.sha256, "encoder": context.encoder.to_json(), "classes": context.labels.classes},
    }
    try:
        text = json.dumps(facts, indent=2)
    except TypeError as error:
        raise PipelineError(
            f"The pipeline cannot be saved: {error}. Its classes and settings must be texts, numbers or booleans."
        ) from error
    rows: dict[str, NDArray[Any]] = {"rows": context.rows, "x": context.x_CF, "y": context.y_C}
    partial = path.with_name(path.name + ".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FACTS, text)
        archive.writestr(WEIGHTS, safetensors.torch.save(content.tensors))
        archive.writestr(CONTEXT, safetensors.numpy.save(rows))
    partial.replace(path)


def read_pipeline(path: Path, *, limit_bytes: int = 2**33) -> PipelineContent:
    """Reads a file.

    Raises:
        PipelineError: it is no saved pipeline, is damaged, too large, or of a later format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limit_bytes:
                raise PipelineError(f"{path.name} unpacks to more than {limit_bytes / 1e9:.1f} GB; that is no pipeline.")
            facts = json.loads(archive.read(FACTS))
            if not isinstance(facts, dict) or facts.get("format") not in READABLE:
                raise PipelineError(f"{path.name} is of no pipeline format that this version reads ({' or '.join(map(str, READABLE))}).")
            if not facts.keys() >= NEEDED:
                raise PipelineError(f"{path.name} lacks {', '.join(sorted(NEEDED - facts.keys()))} in {FACTS}: the file is damaged.")
            tensors = safetensors.torch.load(archive.read(WEIGHTS))
            context = _context(facts["context"], safetensors.numpy.load(archive.read(CONTEXT)))
    except FileNotFoundError as error:
        raise PipelineError(f"There is no saved pipeline at {path}.") from error
    except PipelineError:
        raise
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise PipelineError(
            f"{path.name} is no saved pipeline ({error}); it should be a zip with {FACTS}, {WEIGHTS} and {CONTEXT}."
        ) from error
    return PipelineContent(facts, tensors, context)


def _context(facts: Mapping[str, Any], rows: Mapping[str, Any]) -> Context:
    encoder = FeatureEncoder.from_json(facts["encoder"])
    labels = LabelEncoder(tuple(facts["classes"])) if facts["classes"] else NumberEncoder()
    context = Context(rows["rows"], rows["x"], rows["y"], encoder, labels)
    if context.sha256 != facts["sha256"]:
        raise PipelineError("The context rows in the file do not have the hash that was written down with them: the file is damaged.")
    return context
