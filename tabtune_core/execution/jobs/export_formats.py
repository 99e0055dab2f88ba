"""The files that an adapter leaves the house as, and the Python that opens each. Text only; loads no torch.

In: what an adapter package says of itself. Out: file names, what is inside, and a snippet. An export runs its snippet before it is
offered, so that what a person copies has worked.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from tabtune_core.data.findings import ReadingChoices
from tabtune_core.models.catalogue import CATALOGUE

Format = Literal["merged", "pipeline", "lora"]
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One kind of file."""

    title: str
    inside: str
    """What it holds, for the person who may download it."""
    holds_rows: bool = False
    """Whether rows of the table are in it."""


FORMATS: dict[Format, ExportFormat] = {
    "merged": ExportFormat(
        "Merged checkpoint",
        "All weights of the model with the adapter in them, in the schema of its own package, which opens it without LoRA "
        "and without LoRA Lab. No row of your table is inside.",
    ),
    "pipeline": ExportFormat(
        "Pipeline file",
        "The adapter, the encoders and the run's context rows in one zip: it predicts by itself, without the table. Safetensors and JSON; "
        "opening it runs no code. The run's validation and test rows are not shown to it, so that it predicts what the run predicted.",
        holds_rows=True,
    ),
    "lora": ExportFormat(
        "lora_adapters.pt",
        "Rank, alpha and the factors A and B of every layer as plain tensors, as many LoRA scripts expect them. No row of your table is "
        "inside.",
    ),
}
_ENDINGS = {"TabICL": "ckpt", "TabDPT": "safetensors", "Mitra": "zip"}
"""Of a merged checkpoint, by family; Mitra's is a folder."""


def family_of(facts: Facts) -> str:
    """The upstream package of an adapter's base."""
    return CATALOGUE[facts["base"]["model"]].family.name


def file_name(form: Format | Literal["adapter"], facts: Facts, run_id: str) -> str:
    """What a download is called; made of words of ours."""
    ending = {"adapter": "zip", "pipeline": "zip", "lora": "pt"}.get(form) or _ENDINGS[family_of(facts)]
    start = {"lora": "lora_adapters"}.get(form, form)
    return f"{start}-{facts['base']['model']}-r{facts['settings']['lora'].get('rank', 8)}-{run_id}.{ending}"


@dataclass(frozen=True, slots=True)
class Snippet:
    """Python that opens a file and predicts with it, in two parts: after the first, ``rows`` are the rows to predict."""

    setup: str
    use: str
    through: str
    """Whose code opens the file."""
    views: int
    """That its predictions are averaged over; the run's own may have had more."""

    @property
    def code(self) -> str:
        """As a person runs it."""
        return f"{self.setup}\n{self.use}\nprint(predicted)\n"


def snippet(form: Format, facts: Facts, run_id: str, *, table: str) -> Snippet:
    """The Python that opens one of FORMATS on the rows of ``table``, the file that the run read."""
    if form == "merged":
        return _MERGED[family_of(facts)](facts, run_id, table)
    base = f", checkpoint={facts['base']['file']!r}" if "checkpoint" in facts["settings"] else ""
    predict = "predict_proba" if facts["classes"] else "predict"
    load = f"pipeline = TabularPipeline.load({file_name('pipeline', facts, run_id)!r}{base})"
    imports = "from tabtune_core import TabularPipeline, read_table\nfrom tabtune_core.data.table import ReadingChoices\n"
    if form == "lora":
        file = file_name("lora", facts, run_id)
        imports = f"import torch\n{imports}"
        load = (
            f"state = torch.load({file!r}, weights_only=True)  # plain tensors: rank, alpha, lora_a, lora_b by layer\n"
            f"print(state['rank'], state['alpha'], len(state['lora_a']), 'layers')\n\n"
            f"{load}  # or another pipeline on the same base\n"
            f"pipeline.load_adapter({file!r}, 'from a file')"
        )
    setup = f"{imports}\n{load}\nrows = read_table({table!r}, {_choices(facts)}).frame  # or any frame with the same columns\n"
    return Snippet(setup, f"predicted = pipeline.{predict}(rows)", "tabtune_core.TabularPipeline", _views(facts))


def command_lines(facts: Facts, run_id: str, *, table: str) -> str:
    """The commands that predict with the adapter package, and merge it."""
    adapter, weights = (
        file_name("adapter", facts, run_id),
        f" --checkpoint {facts['base']['file']}" if "checkpoint" in facts["settings"] else "",
    )
    out = file_name("merged", facts, run_id).removesuffix(".zip")
    return (
        f"python -m tabtune_core predict {adapter} rows.csv --context {shlex.quote(table)}{weights} > predictions.csv\n"
        f"python -m tabtune_core merge {adapter} {out}{weights}"
    )


def _views(facts: Facts) -> int:
    return int(facts["settings"].get("train", {}).get("views", 1))


def _choices(facts: Facts) -> str:
    """How the run read its table, without what is as usual."""
    choices = ReadingChoices.from_json(facts["reading"])
    given = {field.name: getattr(choices, field.name) for field in fields(choices) if getattr(choices, field.name) != field.default}
    return f"ReadingChoices({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def _context(facts: Facts, run_id: str, table: str) -> str:
    """The run's own rows, encoded; the merged weights would take any others."""
    base = f", checkpoint={facts['base']['file']!r}" if "checkpoint" in facts["settings"] else ""
    return (
        f"run = load_adapter({file_name('adapter', facts, run_id)!r}{base}, device='cpu')  # only to read and encode rows as the run did\n"
        f"table = read_table({table!r}, run.reading).frame\n"
        f"context = run.context(table)  # or fit on rows of your own: the file needs nothing of ours\n"
        f"rows = table.iloc[run.split(table).test]\n"
    )


def _tabicl(facts: Facts, run_id: str, table: str) -> Snippet:
    kind, classes = ("TabICLClassifier", ", class_shuffle_method='none'") if facts["classes"] else ("TabICLRegressor", "")
    setup = f"from tabicl import {kind}\nfrom tabtune_core import load_adapter, read_table\n\n{_context(facts, run_id, table)}"
    use = (
        f"model = {kind}(\n"
        f"    model_path={file_name('merged', facts, run_id)!r}, allow_auto_download=False, device='cpu',\n"
        f"    n_estimators=1, norm_methods='none', feat_shuffle_method='none'{classes},  # one member, as the run predicts\n"
        f")\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{'predict_proba' if facts['classes'] else 'predict'}(context.encoder.transform(rows))"
    )
    return Snippet(setup, use, f"tabicl.{kind}", 1)


def _tabdpt(facts: Facts, run_id: str, table: str) -> Snippet:
    kind = "TabDPTClassifier" if facts["classes"] else "TabDPTRegressor"
    setup = (
        f"import torch\nfrom tabdpt import {kind}\nfrom tabtune_core import load_adapter, read_table\n\n{_context(facts, run_id, table)}"
    )
    predict = "predict_proba({})" if facts["classes"] else "predict({}, n_ensembles=1)"
    use = (
        f"model = {kind}(\n"
        f"    model_weight_path={file_name('merged', facts, run_id)!r}, device='cpu', use_flash=False, compile=False, verbose=False\n"
        f")\n"
        f"torch.manual_seed(0)  # its PCA, which wide tables need, starts from the global generator\n"
        f"model.fit(context.x_CF, context.y_C)\n"
        f"predicted = model.{predict.format('context.encoder.transform(rows)')}"
    )
    return Snippet(setup, use, f"tabdpt.{kind}", 1)


def _mitra(facts: Facts, run_id: str, table: str) -> Snippet:
    """Through our loader of Mitra's own class: AutoGluon's estimators compute in bfloat16, which would hide a small difference."""
    file, task = file_name("merged", facts, run_id), facts["settings"].get("task", "classification")
    folder, kind = file.removesuffix(".zip"), "MitraClassifier" if facts["classes"] else "MitraRegressor"
    setup = (
        f"import zipfile\nimport torch\nfrom tabtune_core import load_adapter, read_table\n"
        f"from tabtune_core.models.base import load_model\nfrom tabtune_core.models.catalogue import get_card\n"
        f"from tabtune_core.engine.adapted_model import predict_rows\n\n{_context(facts, run_id, table)}"
    )
    use = (
        f"zipfile.ZipFile({file!r}).extractall({folder!r})\n"
        f"# AutoGluon opens the folder too, and computes in bfloat16: {kind}(hf_model={folder!r}, fine_tune=False)\n"
        f"card, cpu = get_card({facts['base']['model']!r}), torch.device('cpu')\n"
        f"model = load_model(card, {task!r}, cpu, {folder!r})\n"
        f"predicted = predict_rows(model, rows, context, views={_views(facts)})"
    )
    return Snippet(setup, use, "Mitra's Tab2D class, as AutoGluon ships it", _views(facts))


_MERGED = {"TabICL": _tabicl, "TabDPT": _tabdpt, "Mitra": _mitra}
