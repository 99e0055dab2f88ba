"""TabPFN v2, v2.5 and v2.6: layers, module groups, limits and checkpoints. Data only; importing it loads no torch."""

from typing import Any

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Layers, ModelCard, Snippet, Weights
from tabtune_core.upstream import Licence, Upstream

PRIOR_LABS = Licence("Prior Labs License (Apache-2.0 with an attribution)", commercial=True)
"""Licence of the weights of v2; the package itself is Apache-2.0. Later weights may not be used commercially."""


def hidden_width(config: dict[str, Any]) -> int:
    """Returns the width of hidden layers, which releases with thinking rows halved."""
    return int(config["emsize"]) * (2 if "num_thinking_rows" in config else 4)


def tabpfn_layers(config: dict[str, Any], task: Task) -> Layers:
    """Returns the layers of a TabPFN module; its norms and blocks have no bias."""
    width, hidden, outputs = config["emsize"], hidden_width(config), config["max_num_classes"] or config["num_buckets"]
    layers, read = Layers(), 2 * config["features_per_group"]
    if config.get("encoder_type") == "mlp":
        layers.linear("feature_group_embedder.0", config["encoder_mlp_hidden_dim"], read, bias=False)
        layers.linear("feature_group_embedder.2", width, config["encoder_mlp_hidden_dim"], bias=False)
    else:
        layers.linear("feature_group_embedder", width, read, bias=False)
    layers.linear("target_embedder", width, 2)
    for i in range(config["nlayers"]):
        for attention in ("per_sample_attention_between_features", "per_column_attention_between_cells"):
            for part in ("q", "k", "v", "out"):
                layers.linear(f"blocks.{i}.{attention}.{part}_projection", width, width, bias=False)
        layers.linear(f"blocks.{i}.mlp.0", hidden, width, bias=False)
        layers.linear(f"blocks.{i}.mlp.2", width, hidden, bias=False)
    layers.linear("output_projection.0", hidden, width)
    layers.linear("output_projection.2", outputs, hidden)
    layers.linear("feature_positional_embedding_embeddings", width, width // 4)
    return layers


PLAIN = """{
    'PREPROCESS_TRANSFORMS': [PreprocessorConfig('none', categorical_name='numeric')], 'REGRESSION_Y_PREPROCESS_TRANSFORMS': (None,),
    'FINGERPRINT_FEATURE': False, 'FEATURE_SHIFT_METHOD': None, 'CLASS_SHIFT_METHOD': None,
}"""  # noqa: E501
"""Settings of upstream's estimators with which an ensemble member preprocesses the table as a run does."""


def tabpfn_merged(facts: PackageFacts, file: str) -> Snippet:
    """Writes code that predicts with the upstream package's own estimator."""
    kind, predict = ("TabPFNClassifier", "predict_proba") if facts.classes else ("TabPFNRegressor", "predict")
    use = (
        f"plain = {PLAIN}  # one member, as the run predicts\n"
        f"model = {kind}(\n"
        f"    model_path={file!r}, device='cpu', n_estimators=1, inference_config=plain,\n"
        f"    ignore_pretraining_limits=True, inference_precision=torch.float32,\n"
        f")\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{predict}(context.encoder.transform(rows))"
    )
    imports = f"import torch\nfrom tabpfn import {kind}\nfrom tabpfn.preprocessing import PreprocessorConfig\n"
    return Snippet(imports, use, f"tabpfn.{kind}")


_ALL, _BARS = "tabpfn.architectures", "tabpfn.architectures.shared.bar_distribution"
_MODULES = {"tabpfn_v2": "TabPFNV2", "tabpfn_v2_5": "TabPFNV2p5", "tabpfn_v2_6": "TabPFNV2p6"}
_CLASS = "the class of the module, its submodules and its state dict"
_OF_EACH = {
    "TabPFNBlock": "a stage, which takes and returns the cells, in a list that it empties",
    "parse_config": "the architecture that a checkpoint describes",
    "get_architecture": "the module of an architecture",
}
_CLIP = "tabpfn.preprocessing.torch.torch_soft_clip_outliers"
UPSTREAM = Upstream(
    distribution="tabpfn",
    tested=("9.2",),
    names={
        f"{_ALL}:ARCHITECTURES": "the three files, by the name of an architecture in a checkpoint",
        **{
            f"{_ALL}.{file}:{name}": use
            for file, made in _MODULES.items()
            for name, use in {made: _CLASS, **_OF_EACH}.items()
        },
        f"{_ALL}.tabpfn_v2:TabPFNV2.forward": "takes rows first, and caches a context with return_kv_cache, in every "
        "release",
        f"{_ALL}.tabpfn_v2:_replace_keys_from_base_architecture": "the names of tensors in the released files",
        f"{_ALL}.tabpfn_v2_5:_replace_keys_from_base_architecture": "the same",
        f"{_BARS}:FullSupportBarDistribution": "numbers as a distribution over bars, and its loss",
        f"{_CLIP}:TorchSoftClipOutliers": "the preprocessing of its classifier",
    },
)
"""The names that we use of its package."""

FAMILY = Family(
    folder="tabpfn",
    name="TabPFN",
    upstream=UPSTREAM,
    install="pip install 'tabtune-dashboard[tabpfn]'",
    layers=tabpfn_layers,
    merged_ending="ckpt",
    merged_snippet=tabpfn_merged,
    targets=("feature_group_embedder", "blocks", "output_projection"),
    groups={
        "column_embeddings": ("feature_group_embedder",),
        "row_attention": ("blocks",),
        "prediction_head": ("output_projection",),
    },
    block_lists=("blocks",),
    late_blocks="blocks",
    head=("output_projection",),
    class_limit=10,
    feature_limit=500,
    context_limit=10_000,
)
"""The limits are its package's for v2. Two columns of the table share a token."""

_V2: dict[str, Any] = {
    "name": "TabPFN-v2",
    "emsize": 192,
    "nlayers": 12,
    "nhead": 6,
    "features_per_group": 2,
    "max_num_classes": 10,
    "num_buckets": 5000,
}
_LATER: dict[str, Any] = {**_V2, "nlayers": 24, "nhead": 3, "features_per_group": 3, "num_thinking_rows": 64}
_NUMBERS: dict[str, Any] = {"max_num_classes": 0, "encoder_type": "mlp", "encoder_mlp_hidden_dim": 1024}
_NOTE = "Predicts numbers as a distribution over 5,000 bars."


def _by_path(version: str, *, blocks: int, classes: int, numbers: int) -> ModelCard:
    """Makes the card of a later release, opened by its path, from its parameters and the regressor's blocks."""
    name, repository = f"TabPFN-v{version}", f"Prior-Labs/tabpfn_{version.replace('.', '_')}"
    config = {**_LATER, "name": name}
    models: dict[Task, tuple[str, int, dict[str, Any]]] = {
        "classification": ("classifier", classes, config),
        "regression": ("regressor", numbers, {**config, **_NUMBERS, "nlayers": blocks}),
    }
    weights = {
        task: Weights(
            file=f"{name.lower()}-{kind}-v{version}_default.ckpt",
            repository=repository,
            total_parameters=parameters,
            config=architecture,
            by_path=True,
        )
        for task, (kind, parameters, architecture) in models.items()
    }
    licence = Licence(f"TabPFN-{version} License", commercial=False)
    return ModelCard(
        name=name.lower(), title=f"TabPFN v{version}", family=FAMILY, licence=licence, note=_NOTE, weights=weights
    )


CARDS = (
    ModelCard(
        name="tabpfn-v2",
        title="TabPFN v2",
        family=FAMILY,
        licence=PRIOR_LABS,
        note=_NOTE,
        weights={
            "classification": Weights(
                file="tabpfn-v2-classifier-finetuned-zk73skhh.ckpt",
                repository="Prior-Labs/TabPFN-v2-clf",
                total_parameters=7_244_554,
                config=_V2,
            ),
            "regression": Weights(
                file="tabpfn-v2-regressor.ckpt",
                repository="Prior-Labs/TabPFN-v2-reg",
                total_parameters=11_081_864,
                config={**_V2, "max_num_classes": 0},
            ),
        },
    ),
    _by_path("2.5", blocks=18, classes=10_718_218, numbers=10_186_760),
    _by_path("2.6", blocks=24, classes=10_732_042, numbers=12_854_792),
)
