"""DoRA, Liu et al. 2024, arXiv 2402.09353, section 4: ``m (W + s B A) / ||W + s B A||``.

Each row's length m starts as ``||W||`` and trains; the denominator is a constant in the gradient (section 4.3).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tabtune_core.variants.base import Adapter, Tape, Variant

if TYPE_CHECKING:
    import torch


class Dora(Variant):
    """Lengths and directions of the rows train separately."""

    title: ClassVar[str] = "DoRA"
    peft: ClassVar[Mapping[str, Any]] = {"use_dora": True}
    rescales: ClassVar[bool] = True

    def trained(self, out: int, width: int, rank: int) -> int:
        """Returns the number of lengths."""
        return out

    def refusal(self, matrix: "torch.Tensor") -> str:
        """Refuses weights with a row of zeros, which has no direction."""
        if matrix.norm(dim=1).all():
            return ""
        return (
            "DoRA trains the length of each row of a weight, and a row of zeros has no direction. There are such rows "
            "in {paths}. Leave use_dora off, or leave these layers out of the targets."
        )

    def start(self, adapter: Adapter, matrix: "torch.Tensor", *, from_file: bool) -> None:
        """Starts the lengths as those of the weight's rows."""
        from torch import nn

        adapter.register_parameter("lora_magnitude_vector", nn.Parameter(matrix.detach().contiguous().norm(dim=1)))

    def row_scale(self, adapter: Adapter, weight: "torch.Tensor") -> "torch.Tensor":
        """Returns ``m / ||W + s B A||``."""
        import torch

        # in 16 bits m / ||W|| of a fresh adapter would not be 1
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            norm: torch.Tensor = adapter.moved(weight).norm(dim=1)
        scale: torch.Tensor = adapter.get_parameter("lora_magnitude_vector").div(norm)
        return scale

    def keep(
        self, tape: Tape, path: str, inputs: Mapping[str, float], shape: tuple[int, int], rank: int, *, read: bool
    ) -> None:
        """Records what torch's own operations keep: outputs of a called layer, inputs and copies of a read weight."""
        out, width = shape
        if read:
            tape.keep(f"{path} moved", rank * (out + width) if tape.hides else out * width, trains=True)
            tape.keep(f"{path} updated", out * width)
            for name, rows in inputs.items():
                tape.keep(name, rows * width, trains=True)
            return
        for name, rows in inputs.items():
            if tape.hides:
                tape.keep_bytes(f"{path} {name} mask", tape.mask_bytes * rows * width if tape.live else 0)
            tape.keep(f"{path} {name} shown" if tape.hides else name, rows * width, trains=True)
            tape.keep(f"{path} {name} low", rows * rank, trains=True)
            tape.keep(f"{path} {name} lengths", 2 * rows * out, trains=True)
