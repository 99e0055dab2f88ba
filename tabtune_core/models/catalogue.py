"""What models there are: names, sizes, parts, limits, licences. Data only; importing it loads no torch.

Shapes of a model's layers are listed so that pages can price a rank without the model; a test compares them with the module itself.
"""

import os
from pathlib import Path
from typing import Any

from tabtune_core.errors import CheckpointError, DeviceError, SettingError, TableError, TargetError
from tabtune_core.lora.names import pattern_values
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard, Weights
from tabtune_core.models.families import MITRA, TABDPT, TABICL
from tabtune_core.models.minis import MITRA_MINI_CLASSIFIER, MITRA_MINI_REGRESSOR, TABDPT_MINI
from tabtune_core.settings import REFERENCES, LoraSettings, RunSettings

WEIGHTS = Path(__file__).parent / "weights"

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
MINI_REGRESSOR: dict[str, Any] = {**MINI, "max_classes": 0, "bias_free_ln": True, "num_quantiles": 99}

_TABDPT: dict[str, Any] = {
    "env": {"device": "cpu"},
    "training": {"dropout": 0.0},
    "model": dict(
        enc_cell_dim=-1, max_num_classes=16, regression_bin_count=2048, regression_bin_min=-10, regression_bin_max=10, nhead=8,
        ff_dim=512, emsize=512, nlayers=32, max_num_features=128, min_eval_context=64, max_eval_context=1_048_576, y_encoder_dim=128,
        num_col_attn_layers=2, n_thinking_rows=64,
    ),
}  # fmt: skip
_MITRA: dict[str, Any] = {"dim": 512, "dim_output": 10, "n_layers": 12, "n_heads": 4, "task": "CLASSIFICATION"}


def _released(file: str, parameters: int, config: dict[str, Any]) -> Weights:
    return Weights(file=file, repository="jingang/TabICL", total_parameters=parameters, config=config)


def _tabicl(name: str, title: str, note: str, classifier: Weights, regressor: Weights | None = None) -> ModelCard:
    weights: dict[Task, Weights] = {"classification": classifier}
    if regressor:
        weights["regression"] = regressor
    return ModelCard(name=name, title=title, family=TABICL, licence="BSD-3-Clause", note=note, weights=weights)


def _tabdpt(name: str, title: str, note: str, weights: Weights) -> ModelCard:
    both: dict[Task, Weights] = {"classification": weights, "regression": weights}
    return ModelCard(name=name, title=title, family=TABDPT, licence="Apache-2.0", note=note, weights=both)


def _mitra_weights(
    parameters: int, config: dict[str, Any], *, folder: str = "", repository: str | None = None, sha256: str | None = None
) -> Weights:
    return Weights(
        file=f"{folder}model.safetensors", beside=("config.json",), repository=repository, total_parameters=parameters, config=config,
        sha256=sha256,
    )  # fmt: skip


def _mitra(name: str, title: str, note: str, *weights: Weights) -> ModelCard:
    tasks: tuple[Task, ...] = ("classification", "regression")
    return ModelCard(name=name, title=title, family=MITRA, licence="Apache-2.0", note=note, weights=dict(zip(tasks, weights, strict=False)))


_CARDS = (
    ModelCard(
        name="tabicl-mini", title="TabICL mini", family=TABICL, licence="Apache-2.0",
        note="Pre-trained by us on synthetic tables; ships with the package.",
        weights={
            "classification": Weights(
                file="tabicl-mini.ckpt", repository=None, total_parameters=677_310, config=MINI,
                sha256="9924b577690ad66e71da328603240b26c1b26ef3e2ee4c870e29327a8671139b",
            ),
            "regression": Weights(
                file="tabicl-mini-regressor.ckpt", repository=None, total_parameters=697_175, config=MINI_REGRESSOR,
                sha256="cc3335cf4b1e150cd23c13100bd9903843e1651466651540e492b213df1f8e61",
            ),
        },
    ),
    _tabicl(
        "tabicl-v2", "TabICL v2", "The current release.",
        _released("tabicl-classifier-v2-20260212.ckpt", 27_552_258, _V2),
        _released("tabicl-regressor-v2-20260212.ckpt", 28_544_991, {**_V2, "max_classes": 0, "bias_free_ln": True}),
    ),
    _tabicl("tabicl-v1.1", "TabICL v1.1", "An improved v1.", _released("tabicl-classifier-v1.1-20250506.ckpt", 27_051_666, _V1)),
    _tabicl("tabicl-v1", "TabICL v1", "The first release.", _released("tabicl-classifier-v1-20250208.ckpt", 27_051_666, _V1)),
    _tabdpt(
        "tabdpt-mini", "TabDPT mini", "Pre-trained by us on synthetic tables, for classes and numbers; ships with the package.",
        Weights(
            file="tabdpt-mini.safetensors", repository=None, total_parameters=586_890, config=TABDPT_MINI,
            sha256="ace2cacda0cd6311649df6e74ec6ef6ba1279051013b6bf136e732e34e00b2c0",
        ),
    ),
    _tabdpt(
        "tabdpt-1.3", "TabDPT 1.3", "The current release; one file for classes and numbers.",
        Weights(file="tabdpt1_3.safetensors", repository="Layer6/TabDPT", total_parameters=63_040_528, config=_TABDPT),
    ),
    _mitra(
        "mitra-mini", "Mitra mini", "Pre-trained by us on synthetic tables; ships with the package.",
        _mitra_weights(
            227_386, MITRA_MINI_CLASSIFIER, folder="mitra-mini-classifier/",
            sha256="7d09ea279ff780d4f964821821bac59892268de769a6a2a6731f68bd42c5159d",
        ),
        _mitra_weights(
            226_561, MITRA_MINI_REGRESSOR, folder="mitra-mini-regressor/",
            sha256="bb5d5be0df5b17a7e4f7cd2f7d7d625ad957c67b75816db3d1abf169e19c6a5b",
        ),
    ),
    _mitra(
        "mitra-v2", "Mitra v2", "Predicts numbers as a distribution over 1,000 value bins.",
        _mitra_weights(75_670_026, _MITRA, repository="autogluon/mitra-classifier-2"),
        _mitra_weights(76_684_776, {**_MITRA, "dim_output": 1000, "task": "REGRESSION"}, repository="autogluon/mitra-regressor-2"),
    ),
    _mitra("mitra-v1.1", "Mitra v1.1", "An improved v1.", _mitra_weights(75_670_026, _MITRA, repository="autogluon/mitra-classifier-1.1")),
    _mitra(
        "mitra-v1", "Mitra v1", "The first release.",
        _mitra_weights(75_670_026, _MITRA, repository="autogluon/mitra-classifier"),
        _mitra_weights(75_661_313, {**_MITRA, "dim_output": 1, "task": "REGRESSION"}, repository="autogluon/mitra-regressor"),
    ),
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


def named_checkpoint(card: ModelCard, task: Task, path: str | Path) -> Path:
    """The weights file that a person named in place of the model's own; a folder stands for the file in it of the same name.

    Raises:
        CheckpointError: it does not exist.
    """
    found = Path(os.path.expanduser(path))  # which leaves alone the home of somebody whom the machine does not know
    if os.path.isdir(found):
        found /= Path(card.weights_for(task).file).name
    if not os.path.isfile(found):  # which says no of a name that is too long, where a Path raises
        raise CheckpointError(f"There is no checkpoint at {found}. Name an existing file, or leave the path out to use {card.title}'s own.")
    return found


def check_request(settings: RunSettings) -> None:
    """Refuses before launch what the catalogue alone can tell: the run itself would fail for the same reason.

    Raises:
        SettingError: there is no such model, it does not do the task, the context is larger than it takes, or there is nothing to
            recompute.
        DeviceError: 16-bit training on the CPU.
        MissingPackageError: the model's package is not installed.
        CheckpointError: the named weights file does not exist.
        TargetError: a target or a pattern that names no layer, or a rank above the cap of every target.
    """
    card = get_card(settings.model)
    if settings.strategy in REFERENCES:
        return
    card.weights_for(settings.task)
    if not card.family.installed:
        raise card.family.missing_package()
    limit = card.family.context_limit
    trained = () if settings.strategy == "inference" else ("context_rows",)
    for name in (*trained, "predict_context_rows"):
        asked = getattr(settings.train, name)
        if limit is not None and asked is not None and asked > limit:
            raise SettingError(f"train.{name} is {asked}; {card.title} takes at most {limit:,} context rows. Set it to {limit} or fewer.")
    if settings.train.gradient_checkpointing and not card.family.block_lists:
        raise SettingError(f"train.gradient_checkpointing changes nothing: {card.family.name} always recomputes its layers. Leave it out.")
    if settings.train.amp != "off" and settings.device == "cpu":
        raise DeviceError(f"train.amp is {settings.train.amp!r}, which needs a CUDA card, but the device is cpu. Set it to 'off'.")
    if settings.checkpoint is not None:
        named_checkpoint(card, settings.task, settings.checkpoint)
    if settings.strategy == "peft" and settings.checkpoint is None:  # which may have other layers
        _check_adapter(card, settings.task, settings.lora)


def _check_adapter(card: ModelCard, task: Task, lora: LoraSettings) -> None:
    shapes = card.adapted_shapes(task, lora.targets)
    missed = [target for target in lora.targets if not card.adapted_shapes(task, (target,))]
    if missed:
        parts = ", ".join(sorted({".".join(path.split(".")[:2]) for path in card.layers(task).weights}))
        raise TargetError(f"No linear layer under {', '.join(map(repr, missed))}. Parts of {card.title} that have some: {parts}.")
    paths = [path.removesuffix(".weight") for path in shapes]
    for name in ("rank_pattern", "alpha_pattern"):
        pattern_values(name, getattr(lora, name), paths, card.groups(task))
    largest = max(min(shape) for shape in shapes.values())
    if lora.rank > largest and not lora.rank_pattern:
        raise TargetError(
            f"Rank {lora.rank} is above the cap of every target: their largest weight allows {largest}. Choose a rank up to {largest}."
        )


def check_features(card: ModelCard, features: int) -> None:
    """Refuses a table that is wider than the model takes.

    Raises:
        TableError: naming the limit.
    """
    limit = card.family.feature_limit
    if limit is not None and features > limit:
        raise TableError(
            f"The table has {features:,} columns to predict from; {card.title} takes at most {limit:,}. "
            "Leave some out, or choose another model."
        )
