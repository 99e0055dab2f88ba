"""Modules over the same weights: what a call or an adapter adds to one of them does not reach the others.

So threads share a model: each has a view of its own, and nothing is put back afterwards.
"""

from torch import nn


def view(module: nn.Module) -> nn.Module:
    """Another module over the same parameters and buffers, as are all below it: milliseconds, and no memory to speak of."""
    made: dict[int, nn.Module] = {}  # a layer may be in several places
    for part in module.modules():
        made[id(part)] = view_of_one(part)
    for part in made.values():
        part._modules.update({name: made[id(child)] for name, child in part._modules.items() if child is not None})
    return made[id(module)]


def view_of_one(module: nn.Module) -> nn.Module:
    """As ``view``, over the same layers."""
    other = type(module).__new__(type(module))  # not by ``copy``, which parametrized modules refuse
    own = {name: dict(vars(module)[name]) for name in ("_parameters", "_buffers", "_modules")}
    other.__dict__.update(vars(module) | own)
    return other
