"""The facts of an adapter package without a real adapter."""

from typing import Any

from tabtune_core.data.findings import ReadingChoices
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.upstream import Licence, Source

RANK_4 = LoraSettings(rank=4)


def package_facts(
    model: str = "tabicl-v2", lora: LoraSettings = RANK_4, target: str = "y", **changes: Any
) -> PackageFacts:
    base = Source(model, "x.ckpt", "a/b", None, "0" * 64, Licence(None))
    settings = RunSettings(dataset="d", target=target, model=model, lora=lora)
    whole: dict[str, Any] = {"layers": (), "biases": (), "base": base, "settings": settings, "classes": ("a", "b")}
    whole |= {"table_name": "t.csv", "table_rows": 9, "table_id": "d", "reading": ReadingChoices()}
    whole |= {"kinds": {"x": "number"}, "features": ("x",), "context_rows": [0], "context_sha256": "0" * 64}
    return PackageFacts(**{**whole, "scores": {}, "best_step": 1, "versions": {"tabtune_core": "0"}, **changes})
