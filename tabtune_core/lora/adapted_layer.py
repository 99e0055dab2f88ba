"""One adapted weight, as reports and files describe it. Loads no torch.

In: values from a file, or the plan of an injection. Out: its rank, scaling and size.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import entry, only
from tabtune_core.settings.training import update_scaling
from tabtune_core.variants import VARIANTS

PREFIX = "base_model.model."
"""Prefix that PEFT puts before the name of every tensor."""
SIDES = ((".lora_A.weight", ".lora_embedding_A"), (".lora_B.weight", ".lora_embedding_B"))
"""Name endings of the factors A and B: of a linear layer, then of an embedding."""
LAYER: dict[str, Any] = {
    **dict.fromkeys(("path", "target", "kind", "variant"), str),
    **dict.fromkeys(("out_features", "in_features", "rank"), int),
    **dict.fromkeys(("capped", "use_rslora"), bool),
    "alpha": (int, float),
}
DERIVED: dict[str, Any] = {"scaling": (int, float), "parameters": int}
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
        """Reads a layer from a file; raises Damaged if an entry is invalid, or the rank impossible for the shape."""
        values = {name: entry(layer, name, kind) for name, kind in (LAYER | DERIVED).items()}
        only(layer, values, "a layer")
        read, where = cls(**{name: values[name] for name in LAYER}), values["path"][:120]
        if not 1 <= read.rank <= min(read.out_features, read.in_features) or read.out_features >= 2**24:
            raise Damaged(f"its layer {where!r} has the rank {read.rank}, which is impossible for its shape")
        if read.kind not in get_args(LayerKind) or read.variant not in VARIANTS:
            how = f"the kind {read.kind!r} and the variant {read.variant!r}"
            raise Damaged(f"its layer {where!r} is of {how}, which are not known")
        return read
