"""The file of a trained adapter: a zip of tensors with PEFT's names, facts, a README, and PEFT's config if it fits."""

import json
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from tabtune_core.errors import AdapterError
from tabtune_core.files.damaged import refused_as
from tabtune_core.files.whole import in_one_move
from tabtune_core.lora.inject import LoraReport, adapter_tensors, check_numbers
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.lora.package_reader import FACTS, PEFT_CONFIG, README, TENSORS, read_parts, readme
from tabtune_core.variants import VARIANTS


@dataclass(frozen=True, slots=True)
class AdapterPackage:
    """The content of a package."""

    tensors: dict[str, Tensor]
    """A and B of every layer, a variant's own tensors, and trained biases, by PEFT's names."""
    facts: PackageFacts


def factor_tensors(module: nn.Module, report: LoraReport) -> dict[str, Tensor]:
    """Returns copies on the CPU of an adapter's tensors, named as in PEFT; raises AdapterError for NaN or Infinity."""
    own = adapter_tensors(module, report)
    tensors = {name: parameter.detach().cpu().contiguous().clone() for name, parameter in own.items()}
    check_numbers(tensors, "It cannot be saved; train it again with a lower learning rate.")
    return tensors


def peft_config(report: LoraReport, *, dropout: float) -> dict[str, Any] | None:
    """Returns PEFT's ``adapter_config.json``; None if PEFT does not support the adapter on one of its layers."""
    first = report.layers[0]
    if {layer.kind for layer in report.layers} - set(VARIANTS[first.variant].peft_kinds):
        return None
    # escaped, as PEFT matches bare paths with ends of paths too
    exactly = {layer.path: re.escape(layer.path) for layer in report.layers}
    ranks = {f"^{exactly[layer.path]}": layer.rank for layer in report.layers if layer.rank != first.rank}
    alphas = {f"^{exactly[layer.path]}": layer.alpha for layer in report.layers if layer.alpha != first.alpha}
    return {
        "peft_type": "LORA",
        "r": first.rank,
        "lora_alpha": first.alpha,
        "lora_dropout": dropout,
        "bias": report.bias,
        "use_rslora": first.use_rslora,
        **VARIANTS[first.variant].peft,
        "inference_mode": True,
        "target_modules": "|".join(exactly.values()),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "base_model_name_or_path": None,
        "task_type": None,
    }


def write_package(path: Path, module: nn.Module, report: LoraReport, facts: PackageFacts) -> None:
    """Writes the zip whole or not at all; raises AdapterError for NaN."""
    config = peft_config(report, dropout=facts.settings.lora.dropout)
    facts = replace(facts, opens_with_peft=config is not None)
    text = json.dumps(facts.to_json(), separators=(",", ":"))
    tensors = factor_tensors(module, report)
    with in_one_move(path, alone=True) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        # stored, not deflated: an untrained B of zeros would compress to nothing, and file sizes are compared across
        # ranks
        archive.writestr(TENSORS, safetensors.torch.save(tensors), zipfile.ZIP_STORED)
        archive.writestr(FACTS, text)
        archive.writestr(README, readme(facts))
        if config is not None:
            archive.writestr(PEFT_CONFIG, json.dumps(config, indent=2))


def read_package(path: Path) -> AdapterPackage:
    """Reads a package; raises AdapterError if it is none, damaged, too large or of a later format."""
    facts, content = read_parts(path)
    with refused_as(AdapterError, f"{path.name} is not an adapter package", f" Its {TENSORS} cannot be read."):
        return AdapterPackage(safetensors.torch.load(content), facts)
