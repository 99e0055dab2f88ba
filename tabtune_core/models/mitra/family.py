"""Mitra: its layers, module groups, limits and checkpoints. Data only; importing it loads no torch."""

from typing import Any

from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, Layers, ModelCard, Snippet, Weights
from tabtune_core.settings import Strategy
from tabtune_core.upstream import APACHE_2, Upstream


def mitra_layers(config: dict[str, Any], task: Task) -> Layers:
    """Returns the layers of a ``Tab2D`` module; labels go through an embedding, or a linear layer if it has one."""
    width, outputs = config["dim"], config["dim_output"]
    layers = Layers()
    layers.linear("x_embedding.x_embedding", width, 1)
    layers.linear("y_embedding.y_embedding", width, outputs, bias=outputs == 1)
    layers.linear("y_embedding.y_mask", width, 1, bias=False)
    for i in range(config["n_layers"]):
        block = f"layers.{i}"
        for half, (up, down) in enumerate((("linear1", "linear2"), ("linear3", "linear4")), start=1):
            for part in "qkvo":
                layers.linear(f"{block}.attention{half}.{part}", width, width)
            layers.linear(f"{block}.{up}", 4 * width, width)
            layers.linear(f"{block}.{down}", width, 4 * width)
        for number in range(1, 5):
            layers.norm(f"{block}.layer_norm{number}", width)
    layers.norm("final_layer_norm", width)
    layers.linear("final_layer", outputs, width)
    return layers


def mitra_merged(facts: PackageFacts, file: str) -> Snippet:
    """Writes code that predicts with Mitra's own class in fp32; AutoGluon's estimators use bfloat16."""
    folder, kind = file.removesuffix(".zip"), "MitraClassifier" if facts.classes else "MitraRegressor"
    imports = (
        "import zipfile\nimport torch\nfrom tabtune_core.models.base import load_model\n"
        "from tabtune_core.models.catalogue import get_card\n"
        "from tabtune_core.engine.adapted_model import predict_rows\n"
    )
    use = (
        f"zipfile.ZipFile({file!r}).extractall({folder!r})\n"
        f"# AutoGluon opens the folder too, and computes in bfloat16: {kind}(hf_model={folder!r}, fine_tune=False)\n"
        f"card, cpu = get_card({facts.base.model!r}), torch.device('cpu')\n"
        f"model = load_model(card, {facts.settings.task!r}, cpu, {folder!r})\n"
        f"predicted = predict_rows(model, rows, context, views={facts.settings.train.views})"
    )
    return Snippet(imports, use, "Mitra's Tab2D class, as AutoGluon ships it", facts.settings.train.views)


_TAB2D = "autogluon.tabular.models.mitra._internal.models.tab2d"
UPSTREAM = Upstream(
    distribution="autogluon.tabular",
    tested=("1.6",),
    names={
        f"{_TAB2D}:Tab2D": "the class of the module, its submodules and its state dict",
        f"{_TAB2D}:Tab2D.save_pretrained": "writes a checkpoint's folder",
        f"{_TAB2D}:Layer": "a stage, which takes and returns context and query side by side",
    },
)
"""The names that we use of its package."""

FAMILY = Family(
    folder="mitra",
    name="Mitra",
    upstream=UPSTREAM,
    install="pip install 'tabtune-dashboard[mitra]'",
    layers=mitra_layers,
    merged_ending="zip",
    merged_snippet=mitra_merged,
    targets=("x_embedding", "layers", "final_layer"),
    groups={"column_embeddings": ("x_embedding",), "row_attention": ("layers",), "prediction_head": ("final_layer",)},
    passed_over=("y_mask",),
    block_lists=(),
    late_blocks="layers",
    head=("final_layer",),
    class_limit=10,
    feature_limit=500,
    context_limit=10_000,
)
"""The limits are AutoGluon's. The guide names ``x_embedding`` (1 to d), whose adapter is larger than the weight."""

MITRA_MINI_CLASSIFIER: dict[str, Any] = dict(dim=48, dim_output=10, n_layers=4, n_heads=4, task="CLASSIFICATION")
MITRA_MINI_REGRESSOR: dict[str, Any] = {**MITRA_MINI_CLASSIFIER, "dim_output": 1, "task": "REGRESSION"}
"""Predicts a scalar on the min-max scale, as Mitra v1; of value bins AutoGluon would predict the mode."""
_MITRA: dict[str, Any] = {"dim": 512, "dim_output": 10, "n_layers": 12, "n_heads": 4, "task": "CLASSIFICATION"}


def _mitra_weights(
    parameters: int, config: dict[str, Any], repository: str | None, folder: str = "", sha256: str | None = None
) -> Weights:
    file, beside = f"{folder}model.safetensors", ("config.json",)
    return Weights(
        file=file, beside=beside, repository=repository, total_parameters=parameters, config=config, sha256=sha256
    )


def _mitra(
    name: str, title: str, note: str, *weights: Weights, rates: dict[Task, dict[Strategy, float]] | None = None
) -> ModelCard:
    tasks: tuple[Task, ...] = ("classification", "regression")
    by_task = dict(zip(tasks, weights, strict=False))
    return ModelCard(
        name=name, title=title, family=FAMILY, licence=APACHE_2, note=note, weights=by_task, rates=rates or {}
    )


_CLASSIFIER_SHA256 = "e6fbed7c5750654412427a2bf6984896736d0edf4f5f272c8b54d25299f20517"
_REGRESSOR_SHA256 = "8030536aa2d8ab7c63cade35473948fe2f7d4e3ac7a801a6a11666b4c9d05504"
CARDS = (
    _mitra(
        "mitra-mini",
        "Mitra mini",
        "Pre-trained by us on synthetic tables; ships with the package.",
        _mitra_weights(227_386, MITRA_MINI_CLASSIFIER, None, "mitra-mini-classifier/", _CLASSIFIER_SHA256),
        _mitra_weights(226_561, MITRA_MINI_REGRESSOR, None, "mitra-mini-regressor/", _REGRESSOR_SHA256),
        rates={"classification": {"peft": 5e-4, "base-ft": 1e-4}, "regression": {"peft": 5e-4, "base-ft": 1e-4}},
    ),
    _mitra(
        "mitra-v2",
        "Mitra v2",
        "Predicts numbers as a distribution over 1,000 value bins.",
        _mitra_weights(75_670_026, _MITRA, "autogluon/mitra-classifier-2"),
        _mitra_weights(76_684_776, {**_MITRA, "dim_output": 1000, "task": "REGRESSION"}, "autogluon/mitra-regressor-2"),
    ),
    _mitra(
        "mitra-v1.1",
        "Mitra v1.1",
        "An improved v1.",
        _mitra_weights(75_670_026, _MITRA, "autogluon/mitra-classifier-1.1"),
    ),
    _mitra(
        "mitra-v1",
        "Mitra v1",
        "The first release.",
        _mitra_weights(75_670_026, _MITRA, "autogluon/mitra-classifier"),
        _mitra_weights(75_661_313, {**_MITRA, "dim_output": 1, "task": "REGRESSION"}, "autogluon/mitra-regressor"),
    ),
)
