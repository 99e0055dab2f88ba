"""What is left out of TabICL is what nobody reads: reserved columns, and answers for the context rows."""

import pytest
import torch
from tiny import tiny_module

from tabtune_core.lora.inject import inject
from tabtune_core.models.needed_work import needed_work_alone
from tabtune_core.training.checkpointing import checkpointed

CONTEXT, ROWS, FEATURES = 40, 60, 6


def outputs(module, y_BC, x_BTF):
    module.zero_grad()
    said = module(x_BTF, y_BC)
    said.square().mean().backward()
    return [said.detach(), *(p.grad.clone() for p in module.parameters() if p.grad is not None)]


@pytest.mark.parametrize("recompute", [(), ("icl_predictor.tf_icl.blocks",)], ids=["kept", "recomputed"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize(
    ("name", "task"), [("tabicl-v2", "classification"), ("tabicl-v2", "regression"), ("tabicl-v1", "classification")], ids=str
)
def test_outputs_and_gradients_are_upstreams(name, task, lora, recompute):
    module = tiny_module(name, task=task).train()
    if lora:
        inject(module, rank=2, alpha=8, dropout=0.0, targets=("icl_predictor",), passed_over=("ssmax_layer",))
        for path, parameter in module.named_parameters():
            if "lora_B" in path:
                torch.nn.init.normal_(parameter, std=0.3)
    y_BC = torch.arange(CONTEXT)[None].float() % 3 if task == "classification" else torch.randn(1, CONTEXT)
    x_BTF = torch.randn(1, ROWS, FEATURES)
    expected = outputs(module, y_BC, x_BTF)
    rows, columns = [], []
    *_, last = module.icl_predictor.tf_icl.blocks
    last.linear1.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[-2]))
    module.col_embedder.in_linear.register_forward_hook(lambda _, given, __: columns.append(given[0].shape[-3]))
    with checkpointed(module, recompute), needed_work_alone(module):
        found = outputs(module, y_BC, x_BTF)
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=1e-5)
    assert (set(rows), set(columns)) == ({ROWS - CONTEXT}, {FEATURES})
    assert "forward" not in {*vars(last), *vars(module.icl_predictor.decoder)}
    assert "_compute_embeddings" not in vars(module.col_embedder)


@pytest.mark.parametrize(("name", "classes"), [("tabicl-v2", 3), ("tabicl-v2", 23), ("tabicl-v1", 3)], ids=str)
def test_predictions_are_upstreams(name, classes):
    module = tiny_module(name).eval()
    x_BTF, y_BC = torch.randn(1, ROWS, FEATURES), torch.arange(CONTEXT)[None].float() % classes
    with torch.no_grad():
        expected = module(x_BTF, y_BC)
        with needed_work_alone(module):
            torch.testing.assert_close(module(x_BTF, y_BC), expected, atol=3e-6, rtol=1e-5)
    assert expected.shape[-1] == classes


def test_a_cache_of_the_context_is_filled_and_read_as_ever():
    module = tiny_module().eval()
    x_BTF, y_BC = torch.randn(1, ROWS, FEATURES), torch.arange(CONTEXT)[None].float() % 3
    said = []
    for _ in range(2):
        with torch.no_grad(), needed_work_alone(module) if said else checkpointed(module, ()):
            module.clear_cache()
            module.forward_with_cache(X_train=x_BTF[:, :CONTEXT], y_train=y_BC, store_cache=True, use_cache=False)
            said.append(module.forward_with_cache(X_test=x_BTF[:, CONTEXT:], store_cache=False, use_cache=True))
    torch.testing.assert_close(said[1], said[0], atol=0, rtol=0)
