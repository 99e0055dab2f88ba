"""Finds the weights that LoRA adapts; puts an adapter on one, and takes it off again.

The weight stays the same object and is never written to. A path is that of the weight in the plain module, without a
trailing ``.weight``. A ``view`` is another module over the same weights, so threads can share a model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from tabtune_core.lora.adapted_layer import LayerKind
from tabtune_core.lora.layers import LoRAEmbedding, LoRALinear, LowRank, LowRankUpdate
from tabtune_core.lora.names import TargetRules, check_reached, match_targets


@dataclass(frozen=True, slots=True)
class Adaptable:
    """A weight that LoRA can reach."""

    path: str
    """Path of the weight in the module, without a trailing ``.weight``."""
    kind: LayerKind
    owner: nn.Module
    weight: Tensor

    @property
    def matrix(self) -> Tensor:
        """The weight as ``(out, in)``; an embedding ``(ids, width)`` is transposed."""
        return self.weight.T if self.kind == "embedding" else self.weight


def adaptable_weights(module: nn.Module) -> Iterator[Adaptable]:
    """Yields every weight that LoRA can reach; of subclasses and packed projections only the weight can be updated."""
    plain: dict[type, LayerKind] = {nn.Linear: "linear", nn.Embedding: "embedding"}
    for path, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            yield Adaptable(path, plain.get(type(child), "weight"), child, child.weight)
        elif isinstance(child, nn.MultiheadAttention) and child.in_proj_weight is not None:
            yield Adaptable(f"{path}.in_proj_weight", "weight", child, child.in_proj_weight)


def find_targets(
    module: nn.Module, targets: Sequence[str], rules: TargetRules
) -> tuple[dict[str, list[Adaptable]], list[str]]:
    """Returns the weights by their first target, and the paths left out; raises TargetError for a target of none."""
    everything = list(adaptable_weights(module))
    paths = [entry.path for entry in everything]
    matches = match_targets(paths, targets, rules)
    check_reached(matches, paths, targets, rules)
    by_target: dict[str, list[Adaptable]] = {target: [] for target in targets}
    for entry in everything:
        if entry.path in matches.target_by_path:
            by_target[matches.target_by_path[entry.path]].append(entry)
    return by_target, matches.left_out


def weight_name(path: str) -> str:
    """Returns the name of the parameter at a path of the plain module."""
    return path if path.endswith("in_proj_weight") else f"{path}.weight"


def owner_of(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Returns the module that has the weight of a path, and the weight's name there."""
    parent, _, attribute = weight_name(path).rpartition(".")
    return module.get_submodule(parent), attribute


def attach(module: nn.Module, path: str, adapter: LowRank) -> None:
    """Puts an adapter on the weight of a path."""
    owner, attribute = owner_of(module, path)
    adapter.train(owner.training)
    if isinstance(adapter, LowRankUpdate):
        weight = owner.get_parameter(attribute)
        weight.requires_grad_(False)
        stand_in = nn.Parameter(weight.data, requires_grad=False)  # torch calls ``set_`` on this one
        owner.register_parameter(attribute, stand_in)
        # unsafe, as a safe call would compute the weight to check it
        parametrize.register_parametrization(owner, attribute, adapter, unsafe=True)
        _parametrized(owner, attribute).register_parameter("original", weight)
    else:
        module.set_submodule(path, adapter)


def detach(module: nn.Module, path: str) -> LowRank:
    """Takes the adapter off the weight of a path; the weight is the same object as before."""
    adapter, (owner, attribute) = adapter_at(module, path), owner_of(module, path)
    if isinstance(adapter, LoRALinear | LoRAEmbedding):
        module.set_submodule(path, adapter.base)
        return adapter
    # torch's ``remove_parametrizations`` would change the class, which a copy of the module shares
    weight = _parametrized(owner, attribute).get_parameter("original")
    owner.__class__ = parametrize.type_before_parametrizations(owner)
    del owner.parametrizations
    owner.register_parameter(attribute, weight)
    return adapter


def _parametrized(owner: nn.Module, attribute: str) -> parametrize.ParametrizationList:
    assert isinstance(owner.parametrizations, nn.ModuleDict)
    parametrizations = owner.parametrizations[attribute]
    assert isinstance(parametrizations, parametrize.ParametrizationList)
    return parametrizations


def adapter_at(module: nn.Module, path: str) -> LowRank:
    """Returns the adapter on the weight of a path."""
    owner, attribute = owner_of(module, path)
    adapter = _parametrized(owner, attribute)[0] if parametrize.is_parametrized(owner) else owner
    assert isinstance(adapter, LowRank)
    return adapter


def adapted_paths(module: nn.Module) -> Iterator[str]:
    """Yields the paths of the weights that have an adapter."""
    for path, child in module.named_modules():
        if isinstance(child, LoRALinear | LoRAEmbedding):
            yield path
        elif isinstance(child, nn.Linear | nn.Embedding | nn.MultiheadAttention) and parametrize.is_parametrized(child):
            yield f"{path}.in_proj_weight" if isinstance(child, nn.MultiheadAttention) else path


def view(module: nn.Module) -> nn.Module:
    """Returns a new tree of modules over the same parameters and buffers, in milliseconds and little memory."""
    made = {id(part): view_of_one(part) for part in module.modules()}  # by id, as a layer may be in several places
    for part in made.values():
        part._modules.update({name: made[id(child)] for name, child in part._modules.items() if child is not None})
    return made[id(module)]


def view_of_one(module: nn.Module) -> nn.Module:
    """Returns a view of one module, with the same child modules."""
    other = type(module).__new__(type(module))  # parametrized modules refuse ``copy``
    own = {name: dict(vars(module)[name]) for name in ("_parameters", "_buffers", "_modules")}
    other.__dict__.update(vars(module) | own)
    return other
