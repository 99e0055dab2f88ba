"""One adapted weight, as reports and files describe it. Loads no torch.

In: values from a file, or the plan of an injection. Out: its rank, scaling and size.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import restored
from tabtune_core.settings.training import update_scaling
from tabtune_core.variants import VARIANTS

PREFIX = "base_model.model."
"""Prefix that PEFT puts before the name of every tensor."""
SIDES = ((".lora_A.weight", ".lora_embedding_A"), (".lora_B.weight", ".lora_embedding_B"))
"""Name endings of the factors A and B: of a linear layer, then of an embedding."""
DERIVED = ("scaling", "parameters")
"""Entries of a layer in a file that follow from the others."""
LayerKind = Literal["linear", "weight", "embedding"]


@dataclass(frozen=True, slots=True)
class AdaptedLayer:
    """One adapted weight."""

    path: str
    """Path of the weight in the module, without a trailing ``.weight``."""
    target: str
    """The target that matched it."""
    kind: LayerKind
    """``linear`` is called, ``weight`` is read, ``embedding`` is looked up; see ``layers``."""
    out_features: int
    in_features: int
    """For an embedding, the rows of its table."""
    rank: int
    """Rank as used: capped at the smaller side of the weight."""
    alpha: float
    """Reduced with a capped rank, so that the scaling is the requested one."""
    capped: bool
    """Whether a higher rank was requested."""
    use_rslora: bool
    variant: str
    """Name in ``VARIANTS``."""

    @property
    def scaling(self) -> float:
        """The factor in front of B A."""
        return update_scaling(self.rank, self.alpha, use_rslora=self.use_rslora)

    @property
    def parameters(self) -> int:
        """Trainable parameters: those of A and B, and those that the variant adds."""
        shape = self.out_features, self.in_features
        return self.rank * sum(shape) + VARIANTS[self.variant].trained(*shape, self.rank)

    def to_json(self) -> dict[str, Any]:
        """Returns the layer as files keep it."""
        return {**asdict(self), **{name: getattr(self, name) for name in DERIVED}}

    @classmethod
    def from_json(cls, layer: Any) -> "AdaptedLayer":
        """Reads a layer from a file; raises Damaged, TypeError or AttributeError if an entry is invalid."""
        read = restored(cls, {name: value for name, value in layer.items() if name not in DERIVED})
        if not 1 <= read.rank <= min(read.out_features, read.in_features) or read.out_features >= 2**24:
            raise Damaged(f"its layer {read.path[:120]!r} has the rank {read.rank}, which is impossible for its shape")
        if read.variant not in VARIANTS:
            raise Damaged(f"its layer {read.path[:120]!r} is of the variant {read.variant!r}, which is not known")
        return read
