"""TabPFN v2: what its modules are made of, its parts, limits and checkpoints. Data only; importing it loads no torch."""

from typing import Any

from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Layers, ModelCard, Weights
from tabtune_core.upstream import Licence, Upstream

PRIOR_LABS = Licence("Prior Labs License (Apache-2.0 with an attribution)", commercial=True)
"""Of the weights of v2; the package itself is Apache-2.0. Later weights may not be used commercially."""


def tabpfn_layers(config: dict[str, Any], task: Task) -> Layers:
    """Of a ``TabPFNV2`` module. Its norms have no parameters, and the layers of its blocks no bias."""
    width, outputs = config["emsize"], config["max_num_classes"] or config["num_buckets"]
    layers = Layers()
    layers.linear("feature_group_embedder", width, 2 * config["features_per_group"], bias=False)
    layers.linear("target_embedder", width, 2)
    for i in range(config["nlayers"]):
        for attention in ("per_sample_attention_between_features", "per_column_attention_between_cells"):
            for part in ("q", "k", "v", "out"):
                layers.linear(f"blocks.{i}.{attention}.{part}_projection", width, width, bias=False)
        layers.linear(f"blocks.{i}.mlp.0", 4 * width, width, bias=False)
        layers.linear(f"blocks.{i}.mlp.2", width, 4 * width, bias=False)
    layers.linear("output_projection.0", 4 * width, width)
    layers.linear("output_projection.2", outputs, 4 * width)
    layers.linear("feature_positional_embedding_embeddings", width, width // 4)
    return layers


_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("feature_group_embedder",),
    "row_attention": ("blocks",),
    "prediction_head": ("output_projection",),
}
_V2, _BARS = "tabpfn.architectures.tabpfn_v2", "tabpfn.architectures.shared.bar_distribution"
_CLIP = "tabpfn.preprocessing.torch.torch_soft_clip_outliers"
UPSTREAM = Upstream(
    distribution="tabpfn",
    tested=("9.2",),
    names={
        f"{_V2}:TabPFNV2": "the class of the module, its submodules and its state dict",
        f"{_V2}:TabPFNV2.forward": "takes rows first, and keeps a context with return_kv_cache",
        f"{_V2}:TabPFNBlock": "a stage, which takes and gives the cells, in a list that it empties",
        f"{_V2}:parse_config": "the architecture that a checkpoint describes",
        f"{_V2}:get_architecture": "the module of it",
        f"{_V2}:_replace_keys_from_base_architecture": "the names of tensors in the released files",
        f"{_BARS}:FullSupportBarDistribution": "numbers as a distribution over bars, and its loss",
        f"{_CLIP}:TorchSoftClipOutliers": "the preprocessing of its classifier",
    },
)
"""What we rely on in its package."""

FAMILY = Family(
    folder="tabpfn",
    name="TabPFN",
    upstream=UPSTREAM,
    install="pip install 'tabtune-dashboard[tabpfn]'",
    layers=tabpfn_layers,
    targets=("feature_group_embedder", "blocks", "output_projection"),
    groups={"classification": _GROUPS, "regression": _GROUPS},
    unused={"classification": (), "regression": ()},
    block_lists=("blocks",),
    late_blocks="blocks",
    head=("output_projection",),
    class_limit=10,
    feature_limit=500,
    context_limit=10_000,
)
"""Limits are its package's for v2. A column of the table is not a token of its own: two share one."""

_TABPFN: dict[str, Any] = {"emsize": 192, "nlayers": 12, "nhead": 6, "features_per_group": 2, "max_num_classes": 10, "num_buckets": 5000}

CARDS = (
    ModelCard(
        name="tabpfn-v2",
        title="TabPFN v2",
        family=FAMILY,
        licence=PRIOR_LABS,
        note="Predicts numbers as a distribution over 5,000 bars.",
        weights={
            "classification": Weights(
                file="tabpfn-v2-classifier-finetuned-zk73skhh.ckpt",
                repository="Prior-Labs/TabPFN-v2-clf",
                total_parameters=7_244_554,
                config=_TABPFN,
            ),
            "regression": Weights(
                file="tabpfn-v2-regressor.ckpt",
                repository="Prior-Labs/TabPFN-v2-reg",
                total_parameters=11_081_864,
                config={**_TABPFN, "max_num_classes": 0},
            ),
        },
    ),
)
