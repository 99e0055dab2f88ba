"""Makes an operation of torch fail, one after the other, to see what a call leaves behind."""

from torch.utils._python_dispatch import TorchDispatchMode


class Broken(RuntimeError):
    """What a call is made to fail with."""


class FailsAt(TorchDispatchMode):
    """The operation of that number fails in this thread, as if memory had run out."""

    def __init__(self, number):
        super().__init__()
        self.left = number

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.left -= 1
        if not self.left:
            raise Broken
        return func(*args, **(kwargs or {}))
