"""TabICL: lean computation, its bounded context cache, and attention that a GPU could compute in fp16."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from module_state import module_state
from tabicl import InferenceConfig
from tabicl._model import attention
from tabicl._model.layers import InducedSelfAttentionBlock, MultiheadAttention
from tiny import tiny_checkpoint, tiny_module
from torch.nn import functional as F

from tabtune_core.lora.inject import inject
from tabtune_core.lora.names import TargetRules
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE, get_card
from tabtune_core.models.tabicl import model as tabicl
from tabtune_core.models.tabicl.lean_forward import lean, of_one_call
from tabtune_core.settings import LoraSettings
from tabtune_core.training.train_phase import checkpointed

CONTEXT, ROWS, FEATURES = 40, 60, 6
TARGETS = ("col_embedder.tf_col", "row_interactor", "icl_predictor")
BLOCKS = ("col_embedder.tf_col.blocks", "row_interactor.tf_row.blocks", "icl_predictor.tf_icl.blocks")
ROUNDING = {"atol": 3e-6, "rtol": 1e-5}
"""BLAS sums in another order for fewer rows at once."""


def opened(name, task="classification"):
    """Opens a module whose vectors are also random, so that the embedding of an empty input is not zero."""
    module = tiny_module(name, task=task)
    for parameter in module.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.3)
    return module


def outputs(module, y_BC, x_BTF, *within):
    module.zero_grad()
    with contextlib.ExitStack() as stack:
        for context in within:
            stack.enter_context(context)
        said = module(x_BTF, y_BC)
    said.square().mean().backward()
    return [said.detach(), *(p.grad.clone() for p in module.parameters() if p.grad is not None)]


def columns_seen(module):
    seen = []
    module.col_embedder.in_linear.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[-3]))
    return seen


def both(name="tabicl-v2", task="classification"):
    upstreams = opened(name, task)
    copied = copy.deepcopy(upstreams)
    lean(copied)
    return upstreams, copied


@pytest.mark.parametrize(
    ("name", "task", "lora", "recompute"),
    [
        ("tabicl-v2", "classification", True, BLOCKS),
        ("tabicl-v2", "regression", False, ()),
        ("tabicl-v1", "classification", True, ()),
    ],
    ids=str,
)
def test_outputs_and_gradients_equal_upstreams(name, task, lora, recompute):
    y_BC = torch.arange(CONTEXT).expand(2, -1).float() % 3 if task == "classification" else torch.randn(2, CONTEXT)
    x_BTF, said, rows, columns = torch.randn(2, ROWS, FEATURES), [], [], []
    for module in both(name, task):
        module.train()
        if lora:
            torch.manual_seed(0)
            inject(module, LoraSettings(rank=2, alpha=8, dropout=0), TargetRules(TARGETS, passed_over=("ssmax_layer",)))
            for path, parameter in module.named_parameters():
                if "lora_B" in path:
                    torch.nn.init.normal_(parameter, std=0.3)
        *_, last = module.icl_predictor.tf_icl.blocks
        last.linear1.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[-2]))
        columns.append(columns_seen(module))
        said.append(outputs(module, y_BC, x_BTF, checkpointed(module, recompute)))
    assert len(said[0]) > 10
    assert (rows[0], rows[-1], set(columns[1])) == (ROWS, ROWS - CONTEXT, {FEATURES})
    for found, wanted in zip(said[1], said[0], strict=True):  # as a whole: numbers that nearly cancel differ
        assert (found - wanted).norm() <= 3e-4 * wanted.norm() + 3e-5


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [("tabicl-v2", "classification", 23), ("tabicl-v2", "regression", 0), ("tabicl-v1", "classification", 3)],
    ids=str,
)
def test_predictions_equal_upstreams_and_leave_nothing_on_the_module(name, task, classes):
    config, said = InferenceConfig(), []
    config.update_from_dict({name: {"use_amp": False} for name in ("COL_CONFIG", "ROW_CONFIG", "ICL_CONFIG")})
    x_BTF = torch.randn(2, ROWS, FEATURES)
    y_BC = torch.arange(CONTEXT).expand(2, -1).float() % classes if classes else torch.randn(2, CONTEXT)
    for module in both(name, task):
        columns, before = columns_seen(module.eval()), module_state(module)
        with torch.no_grad():
            said.append(of_one_call(module)(x_BTF, y_BC, inference_config=config))
        assert module_state(module) == before
    torch.testing.assert_close(said[1], said[0], **ROUNDING)
    assert (said[1].dtype, columns) == (torch.float32, [FEATURES])


@pytest.mark.parametrize("mode", ["kv", "repr"])
def test_a_context_cache_is_filled_and_read_as_upstream(mode):
    y_BC, x_BTF, said = torch.arange(CONTEXT)[None].float() % 3, torch.randn(1, ROWS, FEATURES), []
    for module in both():
        with torch.no_grad():
            module.eval().forward_with_cache(X_train=x_BTF[:, :CONTEXT], y_train=y_BC, cache_mode=mode)
            said.append(module.forward_with_cache(X_test=x_BTF[:, CONTEXT:], cache=module._cache))
    torch.testing.assert_close(said[1], said[0], **ROUNDING)


def test_layers_of_an_untested_version_are_not_replaced(monkeypatch):
    monkeypatch.setattr("tabtune_core.upstream.installed", lambda distribution: "99.0.1")
    _, copied = both()
    layers = {type(layer) for layer in copied.modules()}
    assert {MultiheadAttention, InducedSelfAttentionBlock} <= layers


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny")
    return load_model(get_card("tabicl-v2"), "classification", torch.device("cpu"), path)


def rows(context=40, classes=3):
    rng = np.random.default_rng(0)
    x_TF = rng.normal(size=(context + 12, 5)).astype(np.float32)
    return x_TF[:context], np.arange(context) % classes, x_TF[context:], classes


def bytes_of(cache):
    entries = [entry for part in (cache.col_cache, cache.icl_cache) for entry in part.kv.values()]
    held = [tensor for entry in entries for tensor in (entry.key, entry.value)] + (
        [cache.row_repr] if cache.row_repr is not None else []
    )
    return sum(tensor.numel() * tensor.element_size() for tensor in held)


def sizes(model):
    x_CF, y_C, _, _ = rows()
    found = []
    for mode in ("kv", "repr"):
        with torch.no_grad():
            model.module.forward_with_cache(
                torch.from_numpy(x_CF[None]),
                torch.from_numpy(y_C[None].astype(np.float32)),
                cache_mode=mode,
                inference_config=model._inference,
            )
        found.append(bytes_of(model.module._cache))
        model.module.clear_cache()
    return found


@pytest.mark.parametrize("place", [0, 1])
def test_the_limit_applies_to_what_the_cache_really_holds(model, monkeypatch, place):
    size, mode, smaller = sizes(model)[place], ("kv", "repr")[place], ("repr", None)[place]
    monkeypatch.setattr(tabicl, "CACHE_BYTES", size)
    assert model._cache_mode(40, 5) == mode
    monkeypatch.setattr(tabicl, "CACHE_BYTES", size - 1)
    assert model._cache_mode(40, 5) == smaller


@pytest.mark.parametrize("kept", ["kv", "repr", None])
@pytest.mark.parametrize("classes", [3, 13])
def test_predictions_are_the_same_whatever_is_cached_and_the_cache_is_dropped(model, monkeypatch, kept, classes):
    monkeypatch.setattr(tabicl, "CACHE_BYTES", dict(zip(("kv", "repr", None), (*sizes(model), 0), strict=True))[kept])
    assert model._cache_mode(40, 5) == kept
    x_CF, y_C, x_QF, classes = rows(classes=classes)
    model.module.eval()
    predict = model.read_context(x_CF, y_C, classes)
    for lot in (x_QF[:5], x_QF[5:]):
        np.testing.assert_allclose(predict(lot), model.predict(x_CF, y_C, lot, classes), rtol=0, atol=1e-6)
        assert not model.module.has_cache


CPU = torch.device("cpu")


def test_attention_never_uses_the_fp16_kernel_in_a_step_or_its_recomputation(tmp_path, monkeypatch):
    """If Flash-attention 3 is installed, a GPU would use it whenever upstream's switch is on."""
    monkeypatch.setattr(attention, "_use_flash_attn3", True)
    model, switches = load_model(CATALOGUE["tabicl-v2"], "classification", CPU, tiny_checkpoint(tmp_path / "tiny")), []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *given: switches.append(attention._use_flash_attn3) or kernel(*given)
    )
    model.module.train()
    with checkpointed(model.module, model.card.family.block_lists):
        loss = model.loss(torch.randn(1, 30, 3), torch.arange(20)[None] % 2, torch.arange(10)[None] % 2, 2)
        forward = len(switches)
        loss.backward()
    assert len(switches) > forward > 0
    assert not any(switches)
