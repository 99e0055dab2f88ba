"""TabICL: its layers, module groups, limits and checkpoints. Data only; importing it loads no torch."""

from functools import partial
from typing import Any

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Layers, ModelCard, Snippet, Weights
from tabtune_core.upstream import APACHE_2, BSD_3, Upstream


def _tabicl_block(layers: Layers, path: str, width: int, heads: int = 0, *, factor: int, norms: bool) -> None:
    """Adds a block; with ``heads``, two small networks scale the softmax of its attention."""
    layers.attention(f"{path}.attn", width)
    layers.linear(f"{path}.linear1", factor * width, width)
    layers.linear(f"{path}.linear2", width, factor * width)
    for name in ("norm1", "norm2") if norms else ():
        layers.norm(f"{path}.{name}", width)
    if heads:
        for name, inputs, outputs in (("base", 1, width), ("query", width // heads, width // heads)):
            layers.linear(f"{path}.attn.ssmax_layer.{name}_mlp.0", 64, inputs)
            layers.linear(f"{path}.attn.ssmax_layer.{name}_mlp.2", outputs, 64)


def tabicl_layers(config: dict[str, Any], task: Task) -> Layers:
    """Returns the layers of a TabICL module, v1 or v2."""
    width, factor, labels = config["embed_dim"], config["ff_factor"], config["max_classes"] or 1
    deep = width * config["row_num_cls"]
    layers, norms = Layers(), not config.get("bias_free_ln", False)
    block = partial(_tabicl_block, layers, factor=factor, norms=norms)
    layers.linear("col_embedder.in_linear", width, config.get("col_feature_group_size", 1))
    for i in range(config["col_num_blocks"]):
        path = f"col_embedder.tf_col.blocks.{i}.multihead_attn"
        block(f"{path}1", width, config["col_nhead"] if config["col_ssmax"] else 0)
        block(f"{path}2", width)
    for name in ("w", "b") if config["col_affine"] else ():
        layers.linear(f"col_embedder.out_{name}", width, width)
        layers.norm(f"col_embedder.ln_{name}", width)
    if config["col_target_aware"]:
        layers.linear("col_embedder.y_encoder", width, labels)
    for i in range(config["row_num_blocks"]):
        block(f"row_interactor.tf_row.blocks.{i}", width)
    for i in range(config["icl_num_blocks"]):
        block(f"icl_predictor.tf_icl.blocks.{i}", deep, config["icl_nhead"] if config["icl_ssmax"] else 0)
    for path, d in (("row_interactor.out_ln", width), ("icl_predictor.ln", deep)) if norms else ():
        layers.norm(path, d)
    layers.linear("icl_predictor.y_encoder", deep, labels)
    layers.linear("icl_predictor.decoder.0", 2 * deep, deep)
    layers.linear("icl_predictor.decoder.2", config["max_classes"] or config["num_quantiles"], 2 * deep)
    return layers


def tabicl_merged(facts: PackageFacts, file: str) -> Snippet:
    """Writes code that predicts with the upstream package's own estimator."""
    kind, classes = ("TabICLClassifier", ", class_shuffle_method='none'") if facts.classes else ("TabICLRegressor", "")
    use = (
        f"model = {kind}(\n"
        f"    model_path={file!r}, allow_auto_download=False, device='cpu',\n"
        f"    n_estimators=1, norm_methods='none', feat_shuffle_method='none'{classes},  # one member, as the run "
        "predicts\n"
        f")\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{'predict_proba' if facts.classes else 'predict'}(context.encoder.transform(rows))"
    )
    return Snippet(f"from tabicl import {kind}\n", use, f"tabicl.{kind}")


UPSTREAM = Upstream(
    distribution="tabicl",
    tested=("2.2",),
    names={
        "tabicl._model.tabicl:TabICL": "the class of the module, its submodules and its state dict",
        "tabicl._model.tabicl:TabICL._inference_forward": "an entry point that calls the stages",
        "tabicl._model.tabicl:TabICL.predict_stats": "predicts numbers from quantiles",
        "tabicl._model.tabicl:TabICL.predict_stats_with_cache": "predicts numbers with a cached context",
        "tabicl._model.tabicl:TabICL.forward_with_cache": "predicts class probabilities with a cached context",
        "tabicl._model.embedding:ColEmbedding": "the column stage, and the object that splits it into batches",
        "tabicl._model.embedding:ColEmbedding._compute_embeddings": "the column stage, skipped for reserved columns",
        "tabicl._model.learning:ICLearning": "the in-context stage, which keeps the class tree of a call",
        "tabicl._model.learning:ICLearning._icl_predictions": "its outputs, not computed for the context rows",
        "tabicl._model.learning:ICLearning._icl_predictions_repr_cache": "the same with a cached context",
        "tabicl._model.layers:MultiheadAttentionBlock": "the last block, not computed for the context rows",
        "tabicl._model.layers:SkippableLinear": "checks for reserved columns, which a training step does not need",
        "tabicl._model.layers:InducedSelfAttentionBlock": "its inducing points, projected once for all columns",
        "tabicl._model.layers:InducedSelfAttentionBlock.induced_attention": "the same without a check of columns",
        "tabicl._model.layers:MultiheadAttention": "its projections, rotary embedding and scaling, without copies",
        "tabicl._model.rope:RotaryEmbedding": "its frequencies, and how numbers are paired",
        "tabicl._model.attention:sdpa_with_flattened_batch": "attention of many tables at once",
        "tabicl._model.ssmax:_logn": "the logarithm of the number of rows, which synchronizes with the GPU",
        "tabicl._model.attention:set_flash_attn3_enabled": "keeps attention in fp32",
        "tabicl._sklearn.preprocessing:PreprocessingPipeline": "normalisation of the features",
        "tabicl._sklearn.preprocessing:UniqueFeatureFilter": "leaves constant columns out",
    },
)
"""The names that we use of its package."""

FAMILY = Family(
    folder="tabicl",
    name="TabICL",
    upstream=UPSTREAM,
    install="pip install tabicl",
    layers=tabicl_layers,
    merged_ending="ckpt",
    merged_snippet=tabicl_merged,
    targets=("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl", "icl_predictor.decoder"),
    groups={
        "column_embeddings": ("col_embedder",),
        "row_attention": ("row_interactor", "icl_predictor.tf_icl"),
        "prediction_head": ("icl_predictor.decoder",),
        "decoder": ("icl_predictor.decoder",),
    },
    passed_over=("ssmax_layer", "in_linear"),
    block_lists=("col_embedder.tf_col.blocks", "row_interactor.tf_row.blocks", "icl_predictor.tf_icl.blocks"),
    late_blocks="icl_predictor.tf_icl.blocks",
    head=("icl_predictor.decoder",),
    added_to_spread=1e-6,
)

_V1: dict[str, Any] = {
    **dict(max_classes=10, embed_dim=128, ff_factor=2, dropout=0.0, activation="gelu", norm_first=True),
    **dict(col_num_blocks=3, col_nhead=4, col_num_inds=128, col_affine=True),
    **dict(col_feature_group=False, col_target_aware=False, col_ssmax=False),
    **dict(row_num_blocks=3, row_nhead=8, row_num_cls=4, row_rope_base=100000, row_rope_interleaved=True),
    **dict(icl_num_blocks=12, icl_nhead=4, icl_ssmax=False),
}
_SSMAX = "qassmax-mlp-elementwise"
_V2: dict[str, Any] = {
    **_V1,
    **dict(num_quantiles=999, bias_free_ln=False, zero_init=False, recompute=False, row_rope_interleaved=False),
    **dict(col_nhead=8, col_affine=False, col_feature_group="same", col_feature_group_size=3),
    **dict(col_target_aware=True, col_ssmax=_SSMAX, icl_nhead=8, icl_ssmax=_SSMAX),
}
MINI: dict[str, Any] = {
    **_V2,
    **dict(embed_dim=32, col_num_blocks=2, col_nhead=4, col_num_inds=16),
    **dict(row_num_blocks=2, row_nhead=4, icl_num_blocks=8, icl_nhead=4),
}
"""TabICL v2 (arXiv 2602.11139) with smaller widths and depths: 1,257,790 parameters."""
MINI_REGRESSOR: dict[str, Any] = {**MINI, "max_classes": 0, "bias_free_ln": True, "num_quantiles": 99}


def _released(file: str, parameters: int, config: dict[str, Any]) -> Weights:
    return Weights(file=file, repository="jingang/TabICL", total_parameters=parameters, config=config)


def _tabicl(name: str, title: str, note: str, classifier: Weights, regressor: Weights | None = None) -> ModelCard:
    weights: dict[Task, Weights] = {"classification": classifier}
    if regressor:
        weights["regression"] = regressor
    return ModelCard(name=name, title=title, family=FAMILY, licence=BSD_3, note=note, weights=weights)


MINI_CARD = ModelCard(
    name="tabicl-mini",
    title="TabICL mini",
    family=FAMILY,
    licence=APACHE_2,
    note="Pre-trained by us on synthetic tables; ships with the package.",
    weights={
        "classification": Weights(
            file="tabicl-mini.ckpt",
            repository=None,
            total_parameters=1_257_790,
            config=MINI,
            sha256="c682213758d7eb749cd39533cafc3bae008579dc9174d633098f80c42dcbc365",
        ),
        "regression": Weights(
            file="tabicl-mini-regressor.ckpt",
            repository=None,
            total_parameters=1_276_631,
            config=MINI_REGRESSOR,
            sha256="9ef4653668046f72f675261db300973a4bcc80c084521f8d6d36c16c3e726e4e",
        ),
    },
    rates={"classification": {"peft": 2e-4}, "regression": {"peft": 2e-4}},
)
CARDS = (
    MINI_CARD,
    _tabicl(
        "tabicl-v2",
        "TabICL v2",
        "The current release.",
        _released("tabicl-classifier-v2-20260212.ckpt", 27_552_258, _V2),
        _released("tabicl-regressor-v2-20260212.ckpt", 28_544_991, {**_V2, "max_classes": 0, "bias_free_ln": True}),
    ),
    _tabicl(
        "tabicl-v1.1",
        "TabICL v1.1",
        "An improved v1.",
        _released("tabicl-classifier-v1.1-20250506.ckpt", 27_051_666, _V1),
    ),
    _tabicl(
        "tabicl-v1", "TabICL v1", "The first release.", _released("tabicl-classifier-v1-20250208.ckpt", 27_051_666, _V1)
    ),
)
