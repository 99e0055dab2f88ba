"""The code of the guide runs as it is written, with the package's name, the device and the epochs changed."""

import re
from pathlib import Path

import pytest
from small_table import small_table

from tabtune_core import TabularPipeline, merge_lora_weights

GUIDE = """
## 3.1

peft_config = {
    'r': 8,                    # Rank (main hyperparameter)
    'lora_alpha': 16,          # Scaling factor
    'lora_dropout': 0.05,      # Dropout probability
    'target_modules': None,    # Modules to adapt (model default)
    'bias': 'none'             # Bias handling
}

## 5.3

pipeline = TabularPipeline(
    model_name='TabICL',
    tuning_strategy='peft',
    tuning_params={
        'peft_config': {
            'r': 8,
            'lora_alpha': 16,
            'target_modules': [
                'col_embedder.tf_col',  # Only column embedder
                'icl_predictor.decoder'   # Plus decoder
            ]
        }
    }
)

## 6.1

from tabtune import TabularPipeline

# Create pipeline with PEFT
pipeline = TabularPipeline(
    model_name='TabICL',
    tuning_strategy='peft',
    tuning_params={
        'device': 'cuda',
        'epochs': 5,
        'learning_rate': 2e-4,  # Typically higher than base-ft
        'peft_config': {'r': 8, 'lora_alpha': 16}
    }
)

# Training (only adapters are updated)
pipeline.fit(X_train, y_train)

# Inference
predictions = pipeline.predict(X_test)

## 6.3

# LoRA-specific optimizer settings
optimizer_config = {
    'optimizer': 'adamw',
    'learning_rate': 2e-4,
    'weight_decay': 0.01,
    'eps': 1e-8,
    'betas': (0.9, 0.999)
}

## 9.1

from tabtune import TabularPipeline
import torch

# Check available GPU memory
print(f"Available GPU memory: {torch.cuda.get_device_properties(0).total_memory / 1e9:.1f} GB")

# LoRA for 4GB GPU
pipeline = TabularPipeline(
    model_name='TabICL',
    tuning_strategy='peft',
    tuning_params={
        'device': 'cuda',
        'epochs': 5,
        'learning_rate': 2e-4,
        'batch_size': 16,
        'peft_config': {
            'r': 4,              # Lower rank for less memory
            'lora_alpha': 8,
            'lora_dropout': 0.1
        }
    }
)

pipeline.fit(X_train, y_train)
metrics = pipeline.evaluate(X_test, y_test)
print(f"LoRA Accuracy: {metrics['accuracy']:.4f}")

## 9.2

from tabtune import TabularLeaderboard

# Compare different LoRA ranks
lb = TabularLeaderboard(X_train, X_test, y_train, y_test)

for r in [2, 4, 8, 16]:
    lb.add_model(
        'TabICL',
        'peft',
        name=f'LoRA-r{r}',
        tuning_params={
            'epochs': 5,
            'peft_config': {'r': r, 'lora_alpha': 2*r}
        }
    )

results = lb.run(rank_by='accuracy')
print(lb.get_ranking())

## 9.3

# Explore memory-speed-accuracy trade-off
configs = [
    {'r': 2, 'name': 'Ultra-Light'},
    {'r': 4, 'name': 'Light'},
    {'r': 8, 'name': 'Medium'},
    {'r': 16, 'name': 'Heavy'}
]

for config in configs:
    pipeline = TabularPipeline(
        model_name='TabICL',
        tuning_strategy='peft',
        tuning_params={
            'device': 'cuda',
            'epochs': 3,
            'peft_config': {'r': config['r']}
        }
    )

    # Time training
    import time
    start = time.time()
    pipeline.fit(X_train, y_train)
    elapsed = time.time() - start

    # Get memory usage
    mem = torch.cuda.max_memory_allocated() / 1e9

    # Evaluate
    metrics = pipeline.evaluate(X_test, y_test)

    print(f"{config['name']:12} | Rank: {config['r']:2} | "
          f"Time: {elapsed:6.1f}s | Memory: {mem:5.1f}GB | "
          f"Accuracy: {metrics['accuracy']:.4f}")

## 10.3

# Save complete pipeline with LoRA adapters
pipeline.save('pipeline_with_lora.joblib')

# Load and use
loaded = TabularPipeline.load('pipeline_with_lora.joblib')
predictions = loaded.predict(X_test)

## 11

# Merge LoRA weights into base after training
merged_model = merge_lora_weights(pipeline.model)
"""
SECTIONS = dict(re.findall(r"^## (\S+)\n\n(.*?)(?=\n## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
HERE = {
    "from tabtune import": "from tabtune_core import",
    "'cuda'": "'cpu'",
    "torch.cuda.get_device_properties(0).total_memory": "4e9",
    "torch.cuda.max_memory_allocated()": "1e9",
}


@pytest.fixture(autouse=True)
def small_model(monkeypatch, tmp_path):
    monkeypatch.setenv("TABTUNE_TABICL", "tabicl-mini")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def rows():
    X, y = small_table(140)
    return {"X_train": X[:100], "y_train": y[:100], "X_test": X[100:], "y_test": y[100:]}


def run(section, **given):
    code = re.sub(r"'epochs': \d", "'epochs': 1", SECTIONS[section])
    for theirs, ours in HERE.items():
        code = code.replace(theirs, ours)
    names = {"TabularPipeline": TabularPipeline, "merge_lora_weights": merge_lora_weights, **given}
    exec(code, names)
    return names


def test_3_1_and_6_3_are_settings_of_a_pipeline(rows):
    params = {**run("6.3")["optimizer_config"], "peft_config": run("3.1")["peft_config"], "epochs": 1, "device": "cpu"}
    settings = TabularPipeline(tuning_params=params).settings()
    assert (settings.lora.rank, settings.lora.alpha, settings.lora.dropout, settings.lora.targets) == (8, 16, 0.05, ())
    assert (settings.learning_rate, settings.train.weight_decay, settings.train.eps, settings.train.betas) == (
        2e-4,
        0.01,
        1e-8,
        (0.9, 0.999),
    )


def test_5_3_adapts_the_named_parts_alone(rows):
    pipeline = run("5.3")["pipeline"]
    pipeline.tuning_params |= {"steps": 1, "device": "cpu"}
    pipeline.fit(rows["X_train"], rows["y_train"])
    assert {layer.target for layer in pipeline.report.layers} == {"col_embedder.tf_col", "icl_predictor.decoder"}
    assert all(layer.path.startswith(("col_embedder.tf_col.", "icl_predictor.decoder.")) for layer in pipeline.report.layers)


def test_6_1_10_3_and_11_train_save_load_and_merge(rows, tmp_path):
    names = run("6.1", **rows)
    assert set(names["predictions"]) <= {"keep", "drop"}
    loaded = run("10.3", **rows, pipeline=names["pipeline"])
    assert loaded["predictions"].tolist() == names["predictions"].tolist()
    assert (tmp_path / "pipeline_with_lora.joblib").exists()
    merged = run("11", pipeline=names["pipeline"])["merged_model"]
    assert not any("lora" in name for name in merged.state_dict())


def test_9_1_prints_the_accuracy(rows, capsys):
    metrics = run("9.1", **rows)["metrics"]
    assert f"LoRA Accuracy: {metrics['accuracy']:.4f}" in capsys.readouterr().out


def test_9_2_ranks_the_ranks(rows, capsys):
    results = run("9.2", **rows)["results"]
    assert sorted(results["rank"]) == [2, 4, 8, 16]
    assert (results["alpha"] == 2 * results["rank"]).all()
    assert results["validation_accuracy"].is_monotonic_decreasing
    printed = capsys.readouterr().out
    assert all(f"LoRA-r{rank}" in printed for rank in (2, 4, 8, 16))


def test_9_3_prints_one_line_a_rank(rows, capsys):
    run("9.3", **rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Ultra-Light", "Light", "Medium", "Heavy"]
    assert all("Accuracy: 0." in line or "Accuracy: 1." in line for line in lines)


def test_the_readmes_example_runs(rows, tmp_path, capsys):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    code = readme.split("## In Python")[1].split("```python\n")[1].split("```")[0]
    names = dict(rows)
    exec(code.replace('"epochs": 5', '"epochs": 1'), names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lora_adapters.pt", "pipeline.zip"]
    assert "LoRA r=8" in capsys.readouterr().out
