"""The warm-up while loading leaves the model, its gradients and the random state unchanged."""

import copy

import pytest
import torch

from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training import session
from tabtune_core.training.session import use_once

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(session, "USED", set())


def opened(name, task, strategy):
    if name == "mitra-mini":
        pytest.importorskip("autogluon.tabular.models.mitra._internal.models.tab2d")
    model = load_model(get_card(name), task, CPU)
    if strategy == "peft":
        adapt(model, RunSettings(dataset="d", target="y", model=name, task=task, lora=LoraSettings(dropout=0.5)))
    else:
        model.module.requires_grad_(strategy == "base-ft")
    return model


@pytest.mark.parametrize(
    ("name", "task", "strategy"),
    [
        ("tabicl-mini", "classification", "peft"),
        ("tabdpt-mini", "regression", "peft"),
        ("mitra-mini", "classification", "base-ft"),
    ],
)
def test_the_warm_up_step_leaves_no_trace(name, task, strategy):
    model, reached, looked = opened(name, task, strategy), [], []
    trained = [p for p in model.module.parameters() if p.requires_grad]
    hook = trained[-1].register_hook(lambda gradient: reached.append(True))
    predict, model.predict = model.predict, lambda *arguments: looked.append(True) or predict(*arguments)
    before, torch_state = copy.deepcopy(model.module.state_dict()), torch.get_rng_state()
    use_once(model, device=CPU)
    use_once(model, device=CPU)
    hook.remove()
    assert (reached, looked) == ([True], [True])
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert [p.grad for p in trained] == [None] * len(trained)
    assert not any(module.training for module in (model.module, *model.module.children()))
    after = model.module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_a_model_without_trainable_weights_only_predicts():
    model, called = opened("tabicl-mini", "classification", "inference"), []
    predict, model.predict = model.predict, lambda *arguments: called.append("predict") or predict(*arguments)
    model.loss = lambda *arguments: called.append("loss")
    use_once(model, device=CPU)
    assert called == ["predict"]
