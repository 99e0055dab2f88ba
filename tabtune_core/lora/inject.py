"""Puts LoRA into a model: freezes everything, adapts the named modules, and reports layer by layer what was done.

In: a module and settings. Out: the same module, adapted in place, and a report for the optimizer and the pages.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.adapted_layer import PREFIX, SIDES, AdaptedLayer
from tabtune_core.lora.attach import Adaptable, adapted_paths, adapter_at, attach, detach, find_targets, owner_of
from tabtune_core.lora.layers import LoRAEmbedding, LoRALinear, LowRank, LowRankUpdate
from tabtune_core.lora.names import NO_RULES, TargetRules, bias_of, check_ranks, pattern_values, under
from tabtune_core.settings import Bias, LoraSettings
from tabtune_core.variants import VARIANTS
from tabtune_core.wording import counted, few


@dataclass(frozen=True, slots=True)
class LoraReport:
    """What an injection did."""

    layers: tuple[AdaptedLayer, ...]
    trainable_parameters: int
    total_parameters: int
    """Parameters of base and adapter together."""
    left_out: tuple[str, ...]
    """Layers under a target that were left out because an adapter there would be larger than the weight."""
    bias: Bias
    biases: tuple[str, ...]
    """Names of the base's biases that train with the adapter; no bit of the other base parameters changes."""

    def __repr__(self) -> str:
        """Says in one line what trains; ``rows()`` lists the layers."""
        ranks = sorted({layer.rank for layer in self.layers})
        rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}" if ranks else "no rank"
        share = f"{self.trainable_parameters:,} of {self.total_parameters:,} parameters train"
        return f"<LoRA of {rank} in {counted(len(self.layers), 'layer')}: {share}; rows() lists them>"

    def rows(self) -> tuple[dict[str, Any], ...]:
        """Returns the layers as plain values."""
        return tuple(layer.to_json() for layer in self.layers)


def inject(
    module: nn.Module, lora: LoraSettings, rules: TargetRules = NO_RULES, *, from_file: bool = False
) -> LoraReport:
    """Freezes ``module`` and adapts the weights under the targets in place.

    >>> inject(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)), LoraSettings(rank=2, targets=("0",)))
    <LoRA of rank 2 in 1 layer: 24 of 70 parameters train; rows() lists them>

    Args:
        module: the base model.
        lora: settings of the adapter; each layer caps the rank at the smaller side of its weight.
        rules: default targets, and what group names stand for in this module.
        from_file: all values will come from a file, by ``load_factors``, so no initial ones are computed.

    Raises:
        TargetError: a target, pattern or bias matches nothing, a rank is above every cap, or nothing could train.
        AdapterError: the module already has an adapter.
    """
    if any(adapted_paths(module)):
        raise AdapterError("The model has a LoRA adapter already. Merge it first, or keep several in an AdapterSet.")
    plans, left_out = _plans(module, lora, rules)
    layers = tuple(layer for layer, _ in plans)
    _refuse(lora.variant, [entry for _, entry in plans])
    biases = _find_biases(module, lora.bias, layers, rules.unused)

    base, added = sum(p.numel() for p in module.parameters()), sum(layer.parameters for layer in layers)
    trainable = added + sum(module.get_parameter(name).numel() for name in biases)
    report = LoraReport(layers, trainable, base + added, tuple(left_out), lora.bias, biases)
    module.requires_grad_(False)  # the whole module: norms and packed projections are not inside a wrapped layer
    for layer, entry in plans:
        attach(module, layer.path, _make(layer, entry, lora.dropout, from_file))
    for parameter in adapter_tensors(module, report).values():
        parameter.requires_grad_(isinstance(parameter, nn.Parameter))
    moving = sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert trainable == moving, "something beside the adapter would be trained"
    return report


def _plans(
    module: nn.Module, lora: LoraSettings, rules: TargetRules
) -> tuple[list[tuple[AdaptedLayer, Adaptable]], list[str]]:
    """Returns the layers to adapt with their weights, and the paths left out; raises TargetError as ``inject``."""
    matched, left_out = find_targets(module, lora.targets or rules.targets, rules)
    paths = [entry.path for entries in matched.values() for entry in entries]
    by_pattern = pattern_values("rank_pattern", lora.rank_pattern, paths, rules.groups)
    ranks = dict.fromkeys(paths, lora.rank) | by_pattern
    alphas = pattern_values("alpha_pattern", lora.alpha_pattern, paths, rules.groups)
    caps = {entry.path: min(entry.weight.shape) for entries in matched.values() for entry in entries}
    check_ranks(lora.rank, by_pattern, caps)

    def plan(entry: Adaptable, target: str) -> AdaptedLayer:
        (out, width), requested = entry.matrix.shape, ranks[entry.path]
        used = min(requested, out, width)
        alpha = alphas.get(entry.path, 2.0 * requested if lora.alpha is None else lora.alpha)
        alpha *= (used / requested) ** (0.5 if lora.use_rslora else 1)
        return AdaptedLayer(
            entry.path, target, entry.kind, out, width, used, alpha, used < requested, lora.use_rslora, lora.variant
        )

    return [(plan(entry, target), entry) for target, entries in matched.items() for entry in entries], left_out


def _refuse(variant: str, entries: Iterable[Adaptable]) -> None:
    refused = {entry.path: why for entry in entries if (why := VARIANTS[variant].refusal(entry.matrix))}
    if refused:
        raise TargetError(next(iter(refused.values())).format(paths=few(list(refused))))


def _find_biases(
    module: nn.Module, bias: Bias, layers: Sequence[AdaptedLayer], unused: Sequence[str]
) -> tuple[str, ...]:
    if bias == "none":
        return ()
    beside = {bias_of(layer.path) for layer in layers}
    named = [name for name, _ in module.named_parameters() if name.rpartition(".")[2] in ("bias", "in_proj_bias")]
    biases = tuple(
        n for n in named if (n in beside if bias == "lora_only" else not any(under(n, part) for part in unused))
    )
    if not biases:
        where = "adapted layers" if bias == "lora_only" else "model"
        raise TargetError(f"bias={bias!r} would train nothing: there is no bias in the {where}. Choose 'none'.")
    return biases


def _make(layer: AdaptedLayer, entry: Adaptable, dropout: float, from_file: bool) -> LowRank:
    how: dict[str, Any] = {"use_rslora": layer.use_rslora, "variant": layer.variant, "from_file": from_file}
    if layer.kind == "embedding":
        assert isinstance(entry.owner, nn.Embedding)
        return LoRAEmbedding(entry.owner, layer.rank, layer.alpha, **how)
    if layer.kind == "linear":
        assert isinstance(entry.owner, nn.Linear)
        return LoRALinear(entry.owner, layer.rank, layer.alpha, dropout, **how)
    return LowRankUpdate(entry.weight, layer.rank, layer.alpha, dropout, **how)


def adapter_factors(module: nn.Module, report: LoraReport) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """Returns A and B of every adapted layer by path; the model's own parameters, not copies."""
    return {layer.path: adapter_at(module, layer.path).factors for layer in report.layers}


def adapter_tensors(module: nn.Module, report: LoraReport) -> dict[str, Tensor]:
    """Returns the adapter's own tensors, not copies, by PEFT's names: trained ones, and a variant's frozen buffers."""
    tensors: dict[str, Tensor] = {}
    for layer in report.layers:
        adapter = adapter_at(module, layer.path)
        sides = (ends[layer.kind == "embedding"] for ends in SIDES)
        named: dict[str, Tensor] = dict(zip(sides, adapter.factors, strict=True))
        named |= {f".{name}": tensor for name, tensor in adapter.beside.items()}
        tensors |= {f"{PREFIX}{layer.path}{end}": tensor for end, tensor in named.items()}
    for name in report.biases:
        path, _, bias = name.rpartition(".")
        owner, attribute = bias_owner(module, name)
        called = isinstance(module.get_submodule(path), LoRALinear)
        tensors[f"{PREFIX}{path}.base_layer.{bias}" if called else PREFIX + name] = owner.get_parameter(attribute)
    return tensors


def bias_owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Returns the module that has a bias of the base, and the bias's name in that module."""
    path, _, attribute = name.rpartition(".")
    owner = module.get_submodule(path)
    return (owner.base if isinstance(owner, LoRALinear) else owner), attribute


def load_factors(module: nn.Module, report: LoraReport, values: Mapping[str, Tensor]) -> None:
    """Copies tensors into the model, by the names of ``adapter_tensors``; raises AdapterError if one does not fit."""
    tensors = adapter_tensors(module, report)
    # files written by hand name embeddings as linear layers
    tables = [layer.path for layer in report.layers if layer.kind == "embedding"]
    named = {f"{PREFIX}{path}{linear}": f"{PREFIX}{path}{embedding}" for path in tables for linear, embedding in SIDES}
    values = {named.get(name, name): value for name, value in values.items()}
    if tensors.keys() != values.keys():
        odd = sorted(tensors.keys() ^ values.keys())
        where = f"{counted(len(odd), 'tensor')}, for example {odd[0].removeprefix(PREFIX)[:200]!r}"
        why = "the adapter is damaged, or belongs to another model or other targets"
        raise AdapterError(f"The adapter and the model disagree on {where}; {why}.")
    for name, parameter in tensors.items():
        if values[name].shape != parameter.shape:
            own = f"{name.removeprefix(PREFIX)!r} of the adapter has the shape {tuple(values[name].shape)}"
            raise AdapterError(f"{own}, the model needs {tuple(parameter.shape)}.")
    values = {name: values[name].to(parameter) for name, parameter in tensors.items()}
    check_numbers(values, "It is damaged.")
    with torch.no_grad():
        for name, parameter in tensors.items():
            parameter.copy_(values[name])


def check_numbers(tensors: Mapping[str, Tensor], then: str) -> None:
    """Refuses NaN and Infinity by AdapterError, with the text ``then``: they would make every prediction NaN."""
    odd = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if odd:
        which = f"{odd[0].removeprefix(PREFIX)!r} ({counted(len(odd), 'tensor')} in all)"
        raise AdapterError(f"The adapter holds NaN or Infinity in {which}. {then}")


def adapter_updates(module: nn.Module, report: LoraReport) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns the factors of each adapted weight's update by path: A and B, except for some variants."""
    return {layer.path: adapter_at(module, layer.path).update for layer in report.layers}


def dead_adapters(module: nn.Module, report: LoraReport) -> list[str]:
    """Returns the layers whose factors both got no gradient in the last backward pass."""
    factors = adapter_factors(module, report)
    return [path for path, pair in factors.items() if not any(p.grad is not None and p.grad.any() for p in pair)]


def merge(module: nn.Module, report: LoraReport) -> nn.Module:
    """Adds every update to its weight in place and removes the adapters, so the upstream class's own keys remain."""
    return _merge(module, [layer.path for layer in report.layers])


def merged_copy(module: nn.Module) -> nn.Module:
    """Returns a plain copy that computes the same; raises AdapterError without an adapter or with NaN in a weight."""
    paths = list(adapted_paths(module))
    if not paths:
        raise AdapterError("The model has no LoRA adapter to merge; its weights are plain as they are.")
    plain = _merge(copy.deepcopy(module), paths).requires_grad_(False)
    check_numbers(dict(plain.named_parameters()), "Merging it would damage the model.")
    return plain


def _merge(module: nn.Module, paths: Iterable[str]) -> nn.Module:
    for path in paths:
        adapter, (owner, attribute) = detach(module, path), owner_of(module, path)
        weight = adapter.updated(owner.get_parameter(attribute)).detach()
        setattr(owner, attribute, nn.Parameter(weight, requires_grad=False))
    return module
