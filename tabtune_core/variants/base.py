"""The base class of the variants: plain LoRA, Hu et al. 2021, arXiv 2106.09685.

Shapes: W ``(out, in)``, A ``(r, in)``, B ``(out, r)``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import torch

Pair = tuple["torch.Tensor", "torch.Tensor"]
Adapter = Any
"""A module with A and B: ``lora.layers.LowRank``, which needs torch."""
Tape = Any
"""Counts what autograd keeps: ``models.activation_tape.Tape``, which imports this package."""
SKINNY = 3
"""Time per number of a product with the rank as one side, relative to a full-width product."""


def is_whole(out: int, width: int, rank: int) -> bool:
    """Whether one product with the full matrix B A takes less time than two products with A and B.

    >>> is_whole(512, 512, 8), is_whole(32, 32, 8)
    (False, True)
    """
    return out * width <= SKINNY * rank * (out + width)


class Variant:
    """Plain LoRA: A starts at random and B at zero, and ``scaling B A`` is added to the weight."""

    title: ClassVar[str] = "LoRA"
    """Name in labels."""
    peft: ClassVar[Mapping[str, Any]] = {}
    """The settings that choose it in PEFT's ``LoraConfig`` and in ``LoraSettings``."""
    peft_kinds: ClassVar[tuple[str, ...]] = ("linear", "embedding")
    """Kinds of layers for which PEFT supports it."""
    rescales: ClassVar[bool] = False
    """Whether it changes the lengths of the updated rows; then the update cannot be computed apart from the weight."""
    loading: ClassVar[str] = ""
    """What the start spends time on, shown before it; empty if the start is instant."""

    def trained(self, out: int, width: int, rank: int) -> int:
        """Returns the number of trainable parameters beside A and B."""
        return 0

    def frozen(self, out: int, width: int, rank: int) -> int:
        """Returns how many numbers the adapter holds that do not train."""
        return 0

    def refusal(self, matrix: "torch.Tensor") -> str:
        """Returns why a weight cannot have this variant, and what to do; empty if it can."""
        return ""

    def start(self, adapter: Adapter, matrix: "torch.Tensor", *, from_file: bool) -> None:
        """Prepares a fresh adapter, whose A is random and B zero, so that it changes nothing.

        Args:
            adapter: gets the variant's own parameters and buffers, under the names that files use.
            matrix: the weight.
            from_file: all values will be replaced by those of a file.
        """

    def update(self, a: "torch.Tensor", b: "torch.Tensor", beside: Mapping[str, "torch.Tensor | None"]) -> Pair:
        """Returns the factors of the matrix that is added to the weight, from A, B and the adapter's buffers."""
        return a, b

    def put(self, adapter: Adapter, a: "torch.Tensor", b: "torch.Tensor") -> None:
        """Sets the update to given factors, in the shapes of ``update``."""
        for factor, value in zip(adapter.factors, (a, b), strict=True):
            factor.data.copy_(value)

    def row_scale(self, adapter: Adapter, weight: "torch.Tensor") -> "torch.Tensor":
        """Returns the factor of each updated row, ``(out,)``; called only if ``rescales``."""
        raise NotImplementedError

    def keep(
        self, tape: Tape, path: str, inputs: Mapping[str, float], shape: tuple[int, int], rank: int, *, read: bool
    ) -> None:
        """Records on a tape what a layer keeps for the backward pass; see ``Tape.linear``."""
        for name, rows in inputs.items():
            tape.keep(name, rows * shape[1], trains=True)
            tape.keep_bytes(f"{path} {name} mask", rows * shape[1] if tape.hides else 0)
            on_output = tape.hides or rows < max(shape)  # else the update is added to the weight
            if on_output and not is_whole(*shape, rank):
                tape.keep(f"{path} {name} low", rows * rank, trains=True)
