"""Recomputed activations give the same gradients from less memory; the warm-up leaves no trace."""

import copy

import pytest
import torch
from tiny import needs, tiny_module
from torch import nn

from tabtune_core.lora.inject import inject
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import FAMILIES, get_card
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training import session
from tabtune_core.training.session import use_once
from tabtune_core.training.train_phase import checkpointed


class Stack(nn.Module):
    """Layers called one by one with shared arguments, like TabDPT's."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Dropout(0.3), nn.Linear(32, 8)) for _ in range(4)
        )

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


def stack():
    return Stack(), (torch.randn(64, 8),), ("layers",)


def adapted_tabicl():
    module = tiny_module()
    inject(
        module, LoraSettings(rank=2, dropout=0.2, targets=("col_embedder.tf_col", "row_interactor", "icl_predictor"))
    )
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)  # with B at zero the A factors would have no gradient to compare
    return module.train(), (torch.randn(1, 60, 6), torch.arange(40)[None].float() % 3), FAMILIES["TabICL"].block_lists


def gradients(module, inputs):
    """Gradients of the trainable parameters under dropout, and the bytes that autograd kept for the backward pass."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    module.zero_grad()
    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = module(*inputs).square().mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}, sum(kept.values())


@pytest.mark.parametrize("make", [stack, adapted_tabicl])
def test_gradients_are_equal_and_autograd_keeps_less(make):
    torch.manual_seed(0)
    module, inputs, block_lists = make()
    expected, plain_bytes = gradients(module, inputs)
    with checkpointed(module, block_lists):
        found, recomputed_bytes = gradients(module, inputs)
    assert expected.keys() == found.keys()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert recomputed_bytes < plain_bytes / 2
    assert gradients(module, inputs)[1] == plain_bytes, "outside nothing is recomputed"


CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(session, "USED", set())


def opened(name, task, strategy):
    needs(name)
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
