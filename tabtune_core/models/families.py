"""The families of models: parts, names of parts, limits and shapes. Data only; importing it loads no torch."""

from typing import Any

from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Shapes


def tabicl_shapes(config: dict[str, Any], task: Task) -> Shapes:
    """Of a TabICL module, feed-forward and attention layers of all stages and the decoder; small layers are left out."""
    width, factor = config["embed_dim"], config["ff_factor"]
    deep = width * config["row_num_cls"]
    shapes: Shapes = {}

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


_TABICL_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("col_embedder",),
    "row_attention": ("row_interactor", "icl_predictor.tf_icl"),
    "prediction_head": ("icl_predictor.decoder",),
    "decoder": ("icl_predictor.decoder",),
}
TABICL = Family(
    name="TabICL", distribution="tabicl", shapes=tabicl_shapes,
    targets=("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl", "icl_predictor.decoder"),
    groups={"classification": _TABICL_GROUPS, "regression": _TABICL_GROUPS},
    unused={"classification": (), "regression": ()}, passed_over=("ssmax_layer", "in_linear"),
)  # fmt: skip


def mitra_shapes(config: dict[str, Any], task: Task) -> Shapes:
    """Of a ``Tab2D`` module; labels are embedded by a linear layer only where numbers go in and come out as they are."""
    width, outputs = config["dim"], config["dim_output"]
    shapes: Shapes = {"x_embedding.x_embedding.weight": (width, 1), "final_layer.weight": (outputs, width)}
    if task == "regression" and outputs == 1:
        shapes["y_embedding.y_embedding.weight"] = (width, 1)
    for i in range(config["n_layers"]):
        for half, (up, down) in enumerate((("linear1", "linear2"), ("linear3", "linear4")), start=1):
            shapes |= {f"layers.{i}.attention{half}.{part}.weight": (width, width) for part in "qkvo"}
            shapes[f"layers.{i}.{up}.weight"] = (4 * width, width)
            shapes[f"layers.{i}.{down}.weight"] = (width, 4 * width)
    return shapes


_MITRA_GROUPS: dict[str, tuple[str, ...]] = {
    "column_embeddings": ("x_embedding",),
    "row_attention": ("layers",),
    "prediction_head": ("final_layer",),
}
MITRA = Family(
    name="Mitra", distribution="autogluon.tabular", install="pip install 'tabtune-dashboard[mitra]'", shapes=mitra_shapes,
    targets=("x_embedding", "layers", "final_layer"),
    groups={"classification": _MITRA_GROUPS, "regression": _MITRA_GROUPS},
    unused={"classification": (), "regression": ()},
    class_limit=10, feature_limit=500, context_limit=10_000,
)  # fmt: skip
"""Limits are AutoGluon's. ``x_embedding`` (1 to d) takes rank 1, which is one number more than its weight; the guide names it."""
