"""What a variant of LoRA decides. As it stands here it is plain LoRA, Hu et al. 2021, arXiv 2106.09685; others override what differs.

Shapes: W ``(out, in)``, A ``(r, in)``, B ``(out, r)``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch

Pair = tuple["torch.Tensor", "torch.Tensor"]


SKINNY = 3
"""Time per number of a product with the rank as one side, over that of a full-width product, forward and backward together."""


def is_whole(out: int, width: int, rank: int) -> bool:
    """Whether one product with B A, of the weight's own shape, takes less time than two with A and B.

    >>> is_whole(512, 512, 8), is_whole(32, 32, 8)
    (False, True)
    """
    return out * width <= SKINNY * rank * (out + width)


class Adapter(Protocol):
    """A module of torch with A and B (``lora.layers``)."""

    rank: int
    scaling: float

    @property
    def factors(self) -> "tuple[torch.nn.Parameter, torch.nn.Parameter]":
        """A and B."""

    def moved(self, weight: "torch.Tensor") -> "torch.Tensor":
        """The weight with the update added."""

    def get_buffer(self, target: str) -> "torch.Tensor":
        """As torch has it."""

    def get_parameter(self, target: str) -> "torch.nn.Parameter":
        """As torch has it."""

    def register_parameter(self, name: str, param: "torch.nn.Parameter") -> None:
        """As torch has it."""

    def register_buffer(self, name: str, tensor: "torch.Tensor") -> None:
        """As torch has it."""


class Tape(Protocol):
    """Counts what autograd keeps (``models.activation_tape``)."""

    @property
    def hides(self) -> bool:
        """Whether inputs of the adapter are dropped at random."""

    @property
    def mask_bytes(self) -> int:
        """Of one number of torch's own dropout."""

    @property
    def live(self) -> bool:
        """Whether the input needs a gradient."""

    def keep(self, name: str, numbers: float, *, trains: bool = False) -> None:
        """A tensor that is kept."""

    def keep_bytes(self, name: str, size_bytes: float) -> None:
        """The same, of another type than the layer's."""


class Variant:
    """Plain LoRA: A starts at random and B at zero, and ``scaling B A`` is added to the weight."""

    title: ClassVar[str] = "LoRA"
    """For labels."""
    peft: ClassVar[Mapping[str, Any]] = {}
    """The settings that choose it in PEFT's ``LoraConfig`` and in ``LoraSettings``."""
    peft_kinds: ClassVar[tuple[str, ...]] = ("linear", "embedding")
    """Kinds of layers for which PEFT supports it."""
    rescales: ClassVar[bool] = False
    """Whether the updated rows get other lengths; then the update cannot stay beside the weight."""
    loading: ClassVar[str] = ""
    """What the start spends time on, shown before it; empty where the start is instant."""

    def trained(self, out: int, width: int, rank: int) -> int:
        """Parameters that train beside A and B."""
        return 0

    def frozen(self, out: int, width: int, rank: int) -> int:
        """Numbers that an adapter holds and that do not train."""
        return 0

    def refusal(self, matrix: "torch.Tensor") -> str:
        """Why a weight cannot have this variant, with the way out; empty where it can."""
        return ""

    def start(self, adapter: Adapter, matrix: "torch.Tensor", *, from_file: bool) -> None:
        """Prepares a fresh adapter, whose A is random and B zero, so that it changes nothing.

        Args:
            adapter: gets its own parameters and buffers; their names are those in the file.
            matrix: the weight.
            from_file: all values are to be replaced by those of a file.
        """

    def update(self, a: "torch.Tensor", b: "torch.Tensor", beside: Mapping[str, "torch.Tensor | None"]) -> Pair:
        """The factors of what is added to the weight, from A, B and the adapter's buffers by name."""
        return a, b

    def put(self, adapter: Adapter, a: "torch.Tensor", b: "torch.Tensor") -> None:
        """Makes the update another one, given in the shapes of ``update``."""
        for factor, value in zip(adapter.factors, (a, b), strict=True):
            factor.data.copy_(value)

    def row_scale(self, adapter: Adapter, weight: "torch.Tensor") -> "torch.Tensor":
        """What each updated row is multiplied with, ``(out,)``; asked for where ``rescales``."""
        raise NotImplementedError

    def keep(self, tape: Tape, path: str, inputs: Mapping[str, float], shape: tuple[int, int], rank: int, *, read: bool) -> None:
        """Records on a tape what a layer keeps for the backward pass; see ``Tape.linear``."""
        for name, rows in inputs.items():
            tape.keep(name, rows * shape[1], trains=True)
            tape.keep_bytes(f"{path} {name} mask", rows * shape[1] if tape.hides else 0)
            if not is_whole(*shape, rank) and (tape.hides or rows < max(shape)):  # else the update goes into the weight
                tape.keep(f"{path} {name} low", rows * rank, trains=True)
