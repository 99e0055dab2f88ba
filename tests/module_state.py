"""The whole state of a module, to compare before and after a call."""


def module_state(module):
    """The class, every attribute, and the identity and version of every tensor, by path."""
    state = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name in ("_parameters", "_buffers"):
                state |= {
                    (path, name, key): tensor is not None and (id(tensor), tensor._version)
                    for key, tensor in value.items()
                }
            elif isinstance(value, dict):
                state[path, name] = {key: id(one) for key, one in value.items()}
            else:
                state[path, name] = value if isinstance(value, bool | int | float | str | type(None)) else id(value)
        state[path, "class"] = type(part)
    return state
