"""The catalogue's sizes and shapes equal those of the modules, and impossible requests are refused by it alone."""

import pytest
import torch
from tiny import build, tiny_checkpoint

from tabtune_core.errors import CheckpointError, MissingPackageError, SettingError, TargetError
from tabtune_core.lora.attach import adaptable_weights
from tabtune_core.lora.inject import inject
from tabtune_core.lora.names import under
from tabtune_core.models import cards
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import CATALOGUE, check_request, get_card, with_tried_rates
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings

EVERY = [(name, task) for name, card in CATALOGUE.items() for task in card.weights]


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_sizes_and_adapter_sizes_equal_the_modules(name, task):
    card = CATALOGUE[name]
    with torch.device("meta"):  # sizes need no values
        module = build(card.family.name, card.weights_for(task).config)
    assert sum(p.numel() for p in module.parameters()) == card.weights_for(task).total_parameters
    report = inject(module, LoraSettings(rank=8), card.rules(task))
    assert card.adapted_shapes(task) == {layer.path: (layer.out_features, layer.in_features) for layer in report.layers}
    assert adapter_size(card, task, LoraSettings(rank=8)).factors == report.trainable_parameters


def test_the_guides_example_of_a_768_by_768_weight():
    layer = torch.nn.Sequential(torch.nn.Linear(768, 768, bias=False))
    report = inject(layer, LoraSettings(rank=8, targets=("0",)))
    assert report.trainable_parameters == 12_288
    assert report.trainable_parameters / (768 * 768) == pytest.approx(0.0208, abs=1e-4)


def test_the_error_for_an_unknown_model_names_the_known_ones():
    with pytest.raises(SettingError, match="There is no model 'tabpfn'; choose one of tabicl-mini, tabicl-v2"):
        get_card("tabpfn")


def test_a_learning_rate_says_whether_it_was_measured():
    cards = (CATALOGUE["tabdpt-mini"], CATALOGUE["tabicl-mini"])
    assert [card.told_rate("regression", strategy) for card in cards for strategy in ("peft", "base-ft")] == [
        "1e-3 (measured for this model; guide 2e-4)",
        "1e-4 (measured for this model; guide 2e-5)",
        "2e-4 (measured for this model; guide 2e-4)",
        "2e-5 (guide; not measured for this model)",
    ]


def test_each_rank_tries_multiples_of_the_models_rate_unless_rates_are_named():
    def rates(**given):
        sweep = with_tried_rates(SweepSettings(run=RunSettings(dataset="d", target="y", model="tabdpt-mini"), **given))
        return sweep.learning_rates, sweep.full_learning_rates

    assert rates() == ((1e-3, 4e-3, 1.6e-2), (1e-4, 4e-4, 1.6e-3))
    assert rates(learning_rates=(1e-3, 2e-3)) == ((1e-3, 2e-3), (1e-4, 4e-4, 1.6e-3))
    assert rates(learning_rates=(1e-3,)) == ((1e-3,), ())
    assert rates(one_rate=True) == ((), ())


MINIS = [(name, task) for name, card in CATALOGUE.items() for task in card.weights if card.in_the_box]
CASES = [
    LoraSettings(rank=3),
    LoraSettings(rank=2, use_dora=True, bias="lora_only"),
    LoraSettings(rank=2, init_lora_weights="pissa"),
    LoraSettings(rank=64, targets=("row_attention",), rank_pattern={"row_attention": 5}),
    LoraSettings(rank=1, targets=("column_embeddings", "prediction_head"), bias="all"),
    LoraSettings(rank=3, targets=("late_layers",), rank_pattern={"late_layers": 2}),
]


def module_of(name, task):
    return build(CATALOGUE[name].family.name, CATALOGUE[name].weights_for(task).config)


@pytest.mark.parametrize(("name", "task"), MINIS)
def test_every_weight_and_bias_that_a_task_uses_is_in_the_catalogue(name, task):
    module, layers = module_of(name, task), CATALOGUE[name].layers(task)
    unused = CATALOGUE[name].family.unused.get(task, ())

    def used(path):
        return not any(under(path, part) for part in unused)

    weights = {entry.path: tuple(entry.matrix.shape) for entry in adaptable_weights(module) if used(entry.path)}
    biases = {path: p.numel() for path, p in module.named_parameters() if path.endswith("bias") and used(path)}
    assert {path.removesuffix(".weight"): shape for path, shape in layers.weights.items()} == weights
    assert layers.biases == biases


@pytest.mark.parametrize("lora", CASES, ids=["plain", "dora", "pissa", "pattern", "groups", "late"])
@pytest.mark.parametrize(("name", "task"), MINIS)
def test_the_size_equals_that_of_the_injected_module(name, task, lora, monkeypatch):
    card = get_card(name)
    monkeypatch.setattr("tabtune_core.lora.inject._refuse", lambda *given: None)  # it refuses rows of length zero
    report = inject(module_of(name, task), lora, card.rules(task))
    size = adapter_size(card, task, lora)
    assert size.trainable == report.trainable_parameters
    assert card.weights_for(task).total_parameters + size.factors == report.total_parameters


def test_a_pattern_without_a_match_is_refused_as_in_a_run():
    with pytest.raises(TargetError, match="rank_pattern names 'nowhere'"):
        adapter_size(get_card("tabicl-mini"), "classification", LoraSettings(rank_pattern={"nowhere": 2}))


FULL_SIZE = [(name, task) for name, card in CATALOGUE.items() for task in card.weights if not card.in_the_box]


@pytest.mark.parametrize(("name", "task"), FULL_SIZE)
def test_late_layers_are_the_last_third_of_the_blocks_and_the_head(name, task):
    card, family = get_card(name), get_card(name).family
    start = f"{family.late_blocks}."
    count = 1 + max(int(path.removeprefix(start).split(".")[0]) for path in card.layers(task).weights if start in path)
    late = [f"{start}{number}" for number in range(count - count // 3, count)]
    assert card.rules(task).groups["late_layers"] == (*late, *family.head)
    adapted = card.adapted_shapes(task, ("late_layers",))
    assert all(any(under(path, part) for path in adapted) for part in (*late, *family.head))
    assert all(any(under(path, part) for part in (*late, *family.head)) for path in adapted)


RUN = {"dataset": "d", "target": "y"}


def lora(**how):
    return {"lora": LoraSettings(**how)}


def train(model="tabicl-mini", **how):
    return {"model": model, "train": TrainSettings(**how)}


@pytest.mark.parametrize(
    ("asked", "error", "why"),
    [
        (lora(rank=129), TargetError, "Rank 129 is above the cap of every target: their largest weight allows 128"),
        (lora(rank_pattern={"icl_predictor": 4000}), TargetError, "Rank 4000 is above the cap of every layer that the"),
        (lora(targets=("nowhere",)), TargetError, r"No linear layer under 'nowhere'\. Modules that have some: col"),
        (train("mitra-v2", context_rows=10_001), SettingError, "Mitra v2 takes at most 10,000 context rows"),
        (train("mitra-v2", predict_context_rows=10_001), SettingError, "train.predict_context_rows is 10001; Mitra v2"),
        (train("mitra-v2", gradient_checkpointing=True), SettingError, "changes nothing: Mitra always recomputes"),
    ],
)
def test_an_impossible_request_is_refused_before_launch(monkeypatch, asked, error, why):
    monkeypatch.setattr(cards, "installed_now", lambda distribution: "1")
    check_request(RunSettings(**RUN))
    with pytest.raises(error, match=why):
        check_request(RunSettings(**RUN, **asked))


def test_weights_that_do_not_exist_are_refused(tmp_path):
    check_request(RunSettings(**RUN, checkpoint=str(tiny_checkpoint(tmp_path / "there.ckpt"))))
    with pytest.raises(CheckpointError, match=r"There is no checkpoint at .*nowhere\.ckpt"):
        check_request(RunSettings(**RUN, checkpoint=str(tmp_path / "nowhere.ckpt")))


def test_a_model_with_a_missing_package_is_refused_with_the_install_command(monkeypatch):
    monkeypatch.setattr(cards, "installed_now", lambda distribution: None)
    with pytest.raises(MissingPackageError, match=r"Run: pip install 'tabtune-dashboard\[mitra\]'"):
        check_request(RunSettings(**RUN, model="mitra-v2"))
    with pytest.raises(MissingPackageError, match="needs the package tabdpt, .* Run: pip install tabdpt"):
        check_request(RunSettings(**RUN, model="tabdpt-mini"))
