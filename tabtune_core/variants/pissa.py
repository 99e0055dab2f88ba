"""PiSSA, Meng et al. 2024, arXiv 2404.02948: A and B start as the first r singular triplets of W.

The paper replaces the base by ``W - s B0 A0``. Here no bit of W changes; the update is ``s (B A - B0 A0)``, written as
``(B - B0) A + B0 (A - A0)``, which is exactly zero before training, and a frozen copy of the start is kept, in the
package too. Merging and exports are those of an update of rank 2r; the gradients of A and B are the paper's.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tabtune_core.variants.base import Adapter, Pair, Tape, Variant

if TYPE_CHECKING:
    import torch


class Pissa(Variant):
    """Training starts from the weight's principal singular directions; weight decay shrinks them, as in PEFT."""

    title: ClassVar[str] = "PiSSA"
    peft: ClassVar[Mapping[str, Any]] = {"init_lora_weights": "pissa"}
    peft_kinds: ClassVar[tuple[str, ...]] = ("linear",)
    loading: ClassVar[str] = "PiSSA decomposes every adapted weight into its singular vectors first, on the CPU."

    def frozen(self, out: int, width: int, rank: int) -> int:
        """Returns the size of the frozen start of A and B."""
        return rank * (out + width)

    def start(self, adapter: Adapter, matrix: "torch.Tensor", *, from_file: bool) -> None:
        """Sets ``A = sqrt(S / s) V^T``, ``B = U sqrt(S / s)``: section 3, equations 2 and 3.

        On the CPU in fp32 (fp64 for an fp64 weight), the same on each machine and for every seed.
        """
        import torch

        a, b = adapter.factors
        with torch.no_grad():
            if from_file:
                a.zero_()
            else:
                whole = matrix.detach().cpu()
                whole = whole.to(torch.promote_types(whole.dtype, torch.float32))
                left, values, right = torch.linalg.svd(whole, full_matrices=False)
                root = (values[: adapter.rank] / adapter.scaling).sqrt()
                a.copy_(root[:, None] * right[: adapter.rank])
                b.copy_(left[:, : adapter.rank] * root)
        adapter.register_buffer("start_A", a.detach().clone())
        adapter.register_buffer("start_B", b.detach().clone())

    def update(self, a: "torch.Tensor", b: "torch.Tensor", beside: Mapping[str, "torch.Tensor | None"]) -> Pair:
        """Returns ``[A; A - A0]`` and ``[B - B0, B0]``."""
        import torch

        first_a, first_b = beside["start_A"], beside["start_B"]
        assert first_a is not None
        assert first_b is not None
        return torch.cat([a, a - first_a]), torch.cat([b - first_b, first_b], dim=1)

    def put(self, adapter: Adapter, a: "torch.Tensor", b: "torch.Tensor") -> None:
        """Solves the two halves of each factor in ``update`` for A, B and their start."""
        (own_a, own_b), first_a, first_b = adapter.factors, adapter.get_buffer("start_A"), adapter.get_buffer("start_B")
        (upper, lower), (left, right) = a.chunk(2), b.chunk(2, dim=1)
        for tensor, value in ((own_a, upper), (first_a, upper - lower), (first_b, right), (own_b, left + right)):
            tensor.data.copy_(value)

    def keep(
        self, tape: Tape, path: str, inputs: Mapping[str, float], shape: tuple[int, int], rank: int, *, read: bool
    ) -> None:
        """Records an ordinary update of twice the rank, and its factors, which are made in each step."""
        super().keep(tape, path, inputs, shape, 2 * rank, read=read)
        tape.keep(f"{path} update", 2 * rank * sum(shape), trains=True)
