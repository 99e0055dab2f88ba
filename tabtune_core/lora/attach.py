"""Puts an adapter on a weight and takes it off again; the weight stays the same object and is never written to.

A path is that of the weight in the plain module, without a trailing ``.weight``. A ``view`` is another module over
the same weights, so threads can share a model.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.utils import parametrize

from tabtune_core.lora.layers import LoRAEmbedding, LoRALinear, LowRank, LowRankUpdate


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
