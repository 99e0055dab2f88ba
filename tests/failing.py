"""Makes the operations of torch fail one by one, to see what a call leaves behind."""

from torch.utils._python_dispatch import TorchDispatchMode


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
