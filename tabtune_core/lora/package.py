"""The file in which a trained adapter leaves the house: one zip, read without running any code in it.

``adapter_model.safetensors`` in the naming of Hugging Face PEFT, ``tabtune.json`` with all that is needed to use it (but no row of
the table), ``README.md`` with a loader, and ``adapter_config.json`` where PEFT itself can apply the adapter.
"""

import json
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from tabtune_core.errors import AdapterError
from tabtune_core.files.damaged import refused_as
from tabtune_core.files.whole import in_one_move
from tabtune_core.lora.inject import LoraReport, adapter_tensors, check_numbers
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.lora.package_reader import FACTS, FACTS_LIMIT_BYTES, PEFT_CONFIG, README, TENSORS, read_parts, readme
from tabtune_core.variants import VARIANTS

__all__ = ["FACTS", "README", "TENSORS", "AdapterPackage", "factor_tensors", "peft_config", "read_package", "write_package"]


@dataclass(frozen=True, slots=True)
class AdapterPackage:
    """The content of a package."""

    tensors: dict[str, torch.Tensor]
    """A ``(r, in)`` and B ``(out, r)`` of every layer, what a variant has beside them, and biases that trained, as PEFT names them."""
    facts: PackageFacts
    """What ``tabtune.json`` says."""


def factor_tensors(module: nn.Module, report: LoraReport) -> dict[str, torch.Tensor]:
    """Copies on the CPU of everything that the adapter holds, named as PEFT names it.

    Raises:
        AdapterError: it holds NaN or Infinity.
    """
    tensors = {name: parameter.detach().cpu().contiguous().clone() for name, parameter in adapter_tensors(module, report).items()}
    check_numbers(tensors, "It cannot be saved; train it again with a lower learning rate.")
    return tensors


def peft_config(report: LoraReport, *, dropout: float) -> dict[str, Any] | None:
    """PEFT's ``adapter_config.json``; None where PEFT cannot apply the adapter to some kind of layer."""
    first = report.layers[0]
    if {layer.kind for layer in report.layers} - set(VARIANTS[first.variant].peft_kinds):
        return None
    exactly = {layer.path: re.escape(layer.path) for layer in report.layers}  # PEFT takes bare paths for ends of paths too
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
        "rank_pattern": {f"^{exactly[layer.path]}": layer.rank for layer in report.layers if layer.rank != first.rank},
        "alpha_pattern": {f"^{exactly[layer.path]}": layer.alpha for layer in report.layers if layer.alpha != first.alpha},
        "base_model_name_or_path": None,
        "task_type": None,
    }


def write_package(path: Path, module: nn.Module, report: LoraReport, facts: PackageFacts) -> None:
    """Writes the zip in one move: a half-written file never bears the final name.

    Raises:
        AdapterError: the package could not be opened again: it is too large, or holds NaN or Infinity.
    """
    config = peft_config(report, dropout=facts.settings.lora.dropout)
    facts = replace(facts, opens_with_peft=config is not None)
    text = json.dumps(facts.to_json(), separators=(",", ":"))
    if len(text) > FACTS_LIMIT_BYTES:
        raise AdapterError(f"The adapter cannot be saved: its {FACTS} would have {len(text) / 1e6:,.1f} MB. Choose fewer context rows.")
    tensors = factor_tensors(module, report)
    with in_one_move(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        # not deflated: a B that never moved would vanish, and the size is compared with that of other ranks
        archive.writestr(TENSORS, safetensors.torch.save(tensors), zipfile.ZIP_STORED)
        archive.writestr(FACTS, text)
        archive.writestr(README, readme(facts))
        if config is not None:
            archive.writestr(PEFT_CONFIG, json.dumps(config, indent=2))


def read_package(path: Path) -> AdapterPackage:
    """Reads a package.

    Raises:
        AdapterError: the file is not an adapter package, is damaged, too large, or of a later format.
    """
    facts, content = read_parts(path)
    with refused_as(AdapterError, f"{path.name} is not an adapter package", f" Its {TENSORS} cannot be read."):
        return AdapterPackage(safetensors.torch.load(content), facts)
