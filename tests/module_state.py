"""The whole state of a module, to compare before and after a call, and operations of torch that fail within it."""

from torch.utils._python_dispatch import TorchDispatchMode


def module_state(module):
    """The class, every attribute, and the identity and version of every tensor, by path."""
    state = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name in ("_parameters", "_buffers"):
                state |= {(path, name, key): one is not None and (id(one), one._version) for key, one in value.items()}
            elif isinstance(value, dict):
                state[path, name] = {key: id(one) for key, one in value.items()}
            else:
                state[path, name] = value if isinstance(value, bool | int | float | str | type(None)) else id(value)
        state[path, "class"] = type(part)
    return state


class Broken(RuntimeError):
    """The error with which an operation fails."""


class FailsAt(TorchDispatchMode):
    """Makes the operation with that number fail in this thread, as if memory had run out."""

    def __init__(self, number):
        super().__init__()
        self.left = number

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.left -= 1
        if not self.left:
            raise Broken
        return func(*args, **(kwargs or {}))
