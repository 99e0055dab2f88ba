"""What models there are: names, sizes, parts, limits, licences. Data only; importing it loads no torch.

Shapes of a model's linear layers are listed here so that pages can price a rank without the model; a test compares them with
the module itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabtune_core.errors import CheckpointError, SettingError, TargetError
from tabtune_core.settings import RunSettings

WEIGHTS = Path(__file__).parent / "weights"

TABICL_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("col_embedder",),
    "row_attention": ("row_interactor", "icl_predictor.tf_icl"),
    "prediction_head": ("icl_predictor.decoder",),
    "decoder": ("icl_predictor.decoder",),
}
"""The guide's section 5.1 names, as parts of TabICL."""
TABICL_TARGETS = ("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl", "icl_predictor.decoder")
"""The guide's section 5.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One base model as a person sees it."""

    name: str
    title: str
    family: str
    file: str
    """File name of the checkpoint."""
    repository: str | None
    """Hugging Face repository it is downloaded from; None: it ships in this package."""
    licence: str
    max_classes: int
    total_parameters: int
    config: dict[str, Any]
    """Architecture, as the upstream class takes it."""
    targets: tuple[str, ...]
    """What LoRA adapts unless told otherwise."""
    groups: dict[str, tuple[str, ...]]
    note: str
    sha256: str | None = None
    """Of the checkpoint file, where it is known."""

    @property
    def in_the_box(self) -> bool:
        """Whether the weights ship with the package."""
        return self.repository is None

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """``(out, in)`` of every weight that the default targets adapt, by path."""
        return _tabicl_linear_shapes(self.config)

    def adapted_shapes(self, targets: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
        """``(out, in)`` of the weights under these targets, by path; of the default targets when none is named."""
        prefixes = [part for target in targets or self.targets for part in self.groups.get(target, (target,))]
        return {
            path: shape
            for path, shape in self.linear_shapes.items()
            if any(path == prefix or path.startswith(f"{prefix}.") or prefix in path.split(".") for prefix in prefixes)
        }

    def adapter_parameters(self, rank: int, targets: Sequence[str] = ()) -> int:
        """Parameters of an adapter on these targets: ``rank * (in + out)`` a layer, the rank capped at the smaller side."""
        return sum(min(rank, out, width) * (out + width) for out, width in self.adapted_shapes(targets).values())


_V1: dict[str, Any] = dict(
    max_classes=10, embed_dim=128, col_num_blocks=3, col_nhead=4, col_num_inds=128, col_affine=True, col_feature_group=False,
    col_target_aware=False, col_ssmax=False, row_num_blocks=3, row_nhead=8, row_num_cls=4, row_rope_base=100000,
    row_rope_interleaved=True, icl_num_blocks=12, icl_nhead=4, icl_ssmax=False, ff_factor=2, dropout=0.0, activation="gelu",
    norm_first=True,
)  # fmt: skip
_V2: dict[str, Any] = dict(
    max_classes=10, num_quantiles=999, embed_dim=128, col_num_blocks=3, col_nhead=8, col_num_inds=128, col_affine=False,
    col_feature_group="same", col_feature_group_size=3, col_target_aware=True, col_ssmax="qassmax-mlp-elementwise",
    row_num_blocks=3, row_nhead=8, row_num_cls=4, row_rope_base=100000, row_rope_interleaved=False, icl_num_blocks=12,
    icl_nhead=8, icl_ssmax="qassmax-mlp-elementwise", ff_factor=2, dropout=0.0, activation="gelu", norm_first=True,
    bias_free_ln=False, zero_init=False, recompute=False,
)  # fmt: skip
MINI: dict[str, Any] = {
    **_V2, "embed_dim": 32, "col_num_blocks": 2, "col_nhead": 4, "col_num_inds": 16, "row_num_blocks": 2, "row_nhead": 4,
    "icl_num_blocks": 4, "icl_nhead": 4,
}  # fmt: skip
"""TabICL v2 (arXiv 2602.11139) with every width and depth cut down: 677,310 parameters."""


def _tabicl_linear_shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    width, factor = config["embed_dim"], config["ff_factor"]
    deep = width * config["row_num_cls"]
    shapes: dict[str, tuple[int, int]] = {}

    def block(path: str, d: int) -> None:
        shapes[f"{path}.attn.in_proj_weight"] = (3 * d, d)
        shapes[f"{path}.attn.out_proj.weight"] = (d, d)
        shapes[f"{path}.linear1.weight"] = (factor * d, d)
        shapes[f"{path}.linear2.weight"] = (d, factor * d)

    for i in range(config["col_num_blocks"]):
        for part in (1, 2):
            block(f"col_embedder.tf_col.blocks.{i}.multihead_attn{part}", width)
    for i in range(config["row_num_blocks"]):
        block(f"row_interactor.tf_row.blocks.{i}", width)
    for i in range(config["icl_num_blocks"]):
        block(f"icl_predictor.tf_icl.blocks.{i}", deep)
    shapes["icl_predictor.decoder.0.weight"] = (2 * deep, deep)
    shapes["icl_predictor.decoder.2.weight"] = (config["max_classes"] or config["num_quantiles"], 2 * deep)
    return shapes


def _tabicl(name: str, title: str, file: str, parameters: int, config: dict[str, Any], note: str) -> ModelCard:
    return ModelCard(
        name=name, title=title, family="TabICL", file=file, repository="jingang/TabICL", licence="BSD-3-Clause", max_classes=10,
        total_parameters=parameters, config=config, targets=TABICL_TARGETS, groups=TABICL_GROUPS, note=note,
    )  # fmt: skip


_CARDS = (
    ModelCard(
        name="tabicl-mini", title="TabICL mini", family="TabICL", file="tabicl-mini.ckpt", repository=None, licence="Apache-2.0",
        max_classes=10, total_parameters=677_310, config=MINI, targets=TABICL_TARGETS, groups=TABICL_GROUPS,
        note="Pre-trained by us on synthetic tables; ships with the package.",
        sha256="83d38a53dd07e5e69b3125a9938bbfccafd610e6e3ef30dce129654fb1d3da3c",
    ),
    _tabicl("tabicl-v2", "TabICL v2", "tabicl-classifier-v2-20260212.ckpt", 27_552_258, _V2, "The current release."),
    _tabicl("tabicl-v1.1", "TabICL v1.1", "tabicl-classifier-v1.1-20250506.ckpt", 27_051_666, _V1, "An improved v1."),
    _tabicl("tabicl-v1", "TabICL v1", "tabicl-classifier-v1-20250208.ckpt", 27_051_666, _V1, "The first release."),
)  # fmt: skip
CATALOGUE: dict[str, ModelCard] = {card.name: card for card in _CARDS}


def get_card(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        SettingError: naming the models that exist.
    """
    if name not in CATALOGUE:
        raise SettingError(f"There is no model {name!r}; choose one of {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def named_checkpoint(card: ModelCard, path: str | Path) -> Path:
    """The weights file that a person named in place of the model's own.

    Raises:
        CheckpointError: it does not exist.
    """
    found = Path(path).expanduser()
    if not found.is_file():
        raise CheckpointError(f"There is no checkpoint at {found}. Name an existing file, or leave the path out to use {card.title}'s own.")
    return found


def check_request(settings: RunSettings) -> None:
    """Refuses before launch what the catalogue alone can tell: the run itself would fail for the same reason.

    Raises:
        SettingError: there is no such model.
        CheckpointError: the named weights file does not exist.
        TargetError: the rank is above the cap of every target.
    """
    card = get_card(settings.model)
    if settings.checkpoint is not None:
        named_checkpoint(card, settings.checkpoint)
    if settings.strategy != "peft" or settings.checkpoint is not None:  # another checkpoint may have other widths
        return
    # parts that are adapted only when named are not in the catalogue; with those the run itself decides
    largest = max((min(shape) for shape in card.adapted_shapes(settings.lora.targets).values()), default=settings.lora.rank)
    if settings.lora.rank > largest:
        raise TargetError(
            f"Rank {settings.lora.rank} is above the cap of every target: their largest weight allows {largest}. "
            f"Choose a rank up to {largest}."
        )
