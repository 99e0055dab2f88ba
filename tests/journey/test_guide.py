"""The code of the guide and of the documentation runs as written, but for names, the device and the training's length."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_table import small_table
from tiny import tiny_checkpoint
from torch import nn

from tabtune_core import LoRALinear, TabularPipeline, load_lora_adapter, merge_lora_weights
from tabtune_core.errors import AdapterError
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "docs" / "examples"
PARTS = re.split(r"^## (\S+) ", (HERE / "guide_examples.txt").read_text(), flags=re.MULTILINE)[1:]
SECTIONS = {
    number: re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    for number, body in zip(PARTS[::2], PARTS[1::2], strict=True)
}
CHANGED = {
    "from tabtune import": "from tabtune_core import",
    "'cuda'": "'cpu'",
    "torch.cuda.get_device_properties(0).total_memory": "4e9",
    "torch.cuda.max_memory_allocated()": "1e9",
}


@pytest.fixture(autouse=True)
def small_model(monkeypatch, tmp_path):
    monkeypatch.setenv("TABTUNE_TABICL", "tabicl-mini")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)


@pytest.fixture(scope="module")
def rows():
    X, y = small_table(90)
    return {"X_train": X[:60], "y_train": y[:60], "X_test": X[60:], "y_test": y[60:]}


def run(section, block=0, changed=CHANGED, **given):
    code = re.sub(r"'epochs': \d", "'epochs': 1", SECTIONS[section][block])
    for written, here in changed.items():
        code = code.replace(written, here)
    names = dict(given)
    exec(code, names)
    return names


def settings_of(peft_config=None, **params):
    return TabularPipeline(tuning_params={**params, "peft_config": peft_config or {}}).settings()


def test_every_section_with_code_to_copy_is_tested():
    assert " ".join(SECTIONS) == "3.1 3.2 4.2 5.3 6.1 6.3 9.1 9.2 9.3 10.1 10.2 10.3 11 12.1 12.3"
    assert [len(blocks) for blocks in SECTIONS.values()] == [1] * 12 + [4, 1, 1]


def test_3_1_4_2_6_3_11_and_12_1_are_settings_of_a_pipeline():
    first = settings_of(run("3.1")["peft_config"], **run("6.3")["optimizer_config"])
    assert first.lora == LoraSettings(rank=8, alpha=16, dropout=0.05, targets=(), bias="none")
    train = first.train
    assert (first.learning_rate, train.optimizer, train.weight_decay) == (2e-4, "adamw", 0.01)
    assert (train.eps, train.betas) == (1e-8, (0.9, 0.999))
    assert settings_of(run("4.2")["peft_config"]).lora == first.lora
    stronger = settings_of(run("11", 0)["peft_config"])
    assert (stronger.lora.rank, stronger.lora.alpha) == (16, 32)
    slower = settings_of(**run("11", 1)["tuning_params"])
    assert (slower.learning_rate, slower.train.warmup_steps) == (1e-4, 500)
    less = run("11", 2)
    smaller = settings_of(less["peft_config"], **less["tuning_params"])
    assert (smaller.lora.rank, smaller.lora.dropout, smaller.train.batch_size) == (2, 0.2, 4)
    plus = settings_of(run("12.1")["lora_plus_config"])
    assert (plus.train.lr_ratio, plus.lora.rank, plus.lora.alpha) == (10, 8, 16)


def test_3_2_our_layer_equals_the_guides():
    guide, base, x = run("3.2", nn=nn)["LoRALinear"], nn.Linear(6, 4), torch.randn(3, 6)
    ours = LoRALinear(base, r=2, alpha=3, dropout=0.05).eval()
    nn.init.normal_(ours.lora_B.weight)
    torch.testing.assert_close(guide.forward(ours, x), ours(x))
    assert (ours.base, ours.scaling, ours.dropout.p) == (base, 1.5, 0.05)


def test_5_3_adapts_only_the_named_parts(rows):
    pipeline = run("5.3", TabularPipeline=TabularPipeline)["pipeline"]
    pipeline.tuning_params |= {"steps": 1, "device": "cpu"}
    pipeline.fit(rows["X_train"], rows["y_train"])
    named = ("col_embedder.tf_col", "icl_predictor.decoder")
    assert {layer.target for layer in pipeline.report.layers} == set(named)
    assert all(layer.path.startswith(named) for layer in pipeline.report.layers)


def test_6_1_10_11_and_12_3_train_save_load_and_merge(rows, tmp_path):
    names = run("6.1", **rows)
    pipeline = names["pipeline"]
    assert set(names["predictions"]) <= {"keep", "drop"}
    loaded = run("10.3", **rows, pipeline=pipeline, TabularPipeline=TabularPipeline)
    assert loaded["predictions"].tolist() == names["predictions"].tolist()
    assert (tmp_path / "pipeline_with_lora.joblib").exists()

    run("10.1", pipeline=pipeline)
    merged = run("11", 3, pipeline=pipeline, merge_lora_weights=merge_lora_weights)["merged_model"].state_dict()
    assert not any("lora" in name for name in merged)
    base = load_model(CATALOGUE["tabicl-mini"], "classification", torch.device("cpu")).module.state_dict()
    saved = torch.load("lora_adapters.pt", weights_only=True)
    for path, lora_A in saved["lora_a"].items():
        name = path if path in base else f"{path}.weight"
        given = {"base_weights": base[name], "lora_A": lora_A, "lora_B": saved["lora_b"][path], "torch": torch}
        names = run("10.2", **given, alpha=saved["alpha"], r=saved["rank"])
        torch.testing.assert_close(names["merged_weights"], merged[name])
    assert len(saved["lora_a"]) == len(pipeline.report.layers)

    pipeline.save_adapter("lora_classification.pt")
    adapter = run("12.3", load_lora_adapter=load_lora_adapter)["selected_adapter"]
    assert (adapter.task, adapter.model) == ("classification", "tabicl-mini")
    with pytest.raises(AdapterError, match="was trained for classification and cannot be used for regression"):
        load_lora_adapter("lora_classification.pt", task="regression")


def test_9_2_ranks_the_ranks(rows, capsys):
    results = run("9.2", **rows)["results"]
    assert sorted(results["rank"]) == [2, 4, 8, 16]
    assert (results["alpha"] == 2 * results["rank"]).all()
    assert results["validation_accuracy"].is_monotonic_decreasing
    printed = capsys.readouterr().out
    assert all(f"LoRA-r{rank}" in printed for rank in (2, 4, 8, 16))


def test_the_examples_of_the_readme_and_the_documentation_run(rows, tmp_path, capsys, monkeypatch):
    texts = [HERE.parents[1] / "README.md", HERE.parents[1] / "docs" / "pages" / "how-to" / "python.md"]
    names = {**rows, "y_train_numbers": rows["X_train"]["noise"], "y_test_numbers": rows["X_test"]["noise"]}
    regressor = tiny_checkpoint(tmp_path / "tiny.ckpt", "tabicl-v2", task="regression")
    for code in re.findall(r"```python\n(.*?)```", "".join(text.read_text() for text in texts), re.DOTALL):
        code = re.sub(r'"epochs": \d', '"steps": 1', code)
        with monkeypatch.context() as context:
            if "regress" in code:
                context.setenv("TABTUNE_TABICL", "tabicl-v2")
                code = code.replace('"steps": 1', f'"steps": 1, "checkpoint": {str(regressor)!r}')
            exec(code, names)
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"lora_adapters.pt", "merged.ckpt", "pipeline.zip", "board.html", "board"}
    assert list(names["pipeline"].predict_each(rows["X_test"])) == ["base", "default", "again"]
    assert "LoRA r=8" in capsys.readouterr().out


def test_the_script_prints_and_writes_a_board(tmp_path, monkeypatch, capsys):
    import compare_ranks

    monkeypatch.setattr(sys, "argv", ["compare_ranks.py", "--rows", "120", "--steps", "2"])
    compare_ranks.main()
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("zero-shot", "LoRA r=2", "LoRA r=8"))
    assert "LoRA r=8" in (tmp_path / "board.html").read_text()


def test_all_cells_of_the_notebook_run(tmp_path):
    notebook = json.loads((EXAMPLES / "first_adapter.ipynb").read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = {}
    for cell in code:
        exec(cell.replace('"steps": 60', '"steps": 2').replace("quantiles(600)", "quantiles(120)"), names)
    assert {"lora_adapters.pt", "pipeline.zip"} <= {path.name for path in tmp_path.iterdir()}
    assert names["loaded"].predict(names["x_test"]).tolist() == names["pipeline"].predict(names["x_test"]).tolist()


def test_the_example_table_is_deterministic_and_has_three_shells(tmp_path, monkeypatch):
    import runpy

    import quantiles

    monkeypatch.setattr(sys, "argv", ["quantiles.py"])
    runpy.run_path(str(EXAMPLES / "quantiles.py"), run_name="__main__")
    read = pd.read_csv(tmp_path / "quantiles.csv")
    pd.testing.assert_frame_equal(read, quantiles.quantiles(), check_dtype=False)
    assert read["shell"].value_counts().tolist() == [1000, 1000, 1000]
