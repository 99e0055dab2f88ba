"""Do we agree with Hugging Face PEFT?"""

import json
import zipfile

import pytest
import torch
from package_values import package_facts
from tiny import TARGETS_OF_TABDPT, UNUSED_OF_TABDPT, tabdpt_logits, tiny_module, tiny_tabdpt
from torch import nn

from tabtune_core.lora import fused_linear
from tabtune_core.lora.adapted_layer import PREFIX
from tabtune_core.lora.inject import adapter_factors, adapter_tensors, inject
from tabtune_core.lora.names import TargetRules
from tabtune_core.lora.package import PEFT_CONFIG, TENSORS, factor_tensors, write_package
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings

VARIANTS = [{}, {"use_rslora": True}, {"use_dora": True}, {"use_dora": True, "use_rslora": True}]


class Small(nn.Module):
    """Two linear layers and a table in double precision, where equal functions agree to many digits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.table = nn.Linear(6, 5), nn.Linear(5, 4), nn.Embedding(7, 6)
        self.double()

    def forward(self, ids, x):
        return self.second(torch.tanh(self.first(self.table(ids) + x)))


def both(how, **config):
    """Returns the same adapter on the same module, once ours and once PEFT's; every trainable tensor has moved."""
    import peft

    module = Small()
    report = inject(module, LoraSettings(**{"dropout": 0.0, "targets": ("first", "second", "table"), **how}))
    for parameter in adapter_tensors(module, report).values():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    layers = [layer.path for layer in report.layers]
    other = peft.get_peft_model(Small(), peft.LoraConfig(target_modules=layers, **config))
    answer = peft.set_peft_model_state_dict(other, factor_tensors(module, report))
    assert not answer.unexpected_keys
    return module, report, other


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(("rank", "alpha"), [(1, 2), (3, 7)])
def test_linears_and_tables_equal_pefts_including_gradients(rank, alpha, dropout, variant, monkeypatch):
    def mask(x, share):
        return torch.empty_like(x).bernoulli_(1 - share).view(-1, x.shape[-1]).to(torch.int8)

    monkeypatch.setattr(fused_linear, "keep_mask", mask)
    how = {"rank": rank, "alpha": alpha, "dropout": dropout, **variant}
    module, report, other = both(how, r=rank, lora_alpha=alpha, lora_dropout=dropout, **variant)
    ids, x, outputs = torch.tensor([[0, 3, 3], [6, 1, 3]]), torch.randn(2, 3, 6).double(), []
    for model in (module.train(), other.train()):
        torch.manual_seed(1)  # the same masks, because both draw them in the same way here
        outputs.append(model(ids, x))
        outputs[-1].square().sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-12, rtol=1e-12)
    assert (outputs[0] - Small()(ids, x)).abs().max() > 0.1
    of_peft = {
        name.replace(".default", "").replace("vector.weight", "vector"): p.grad
        for name, p in other.named_parameters()
        if p.grad is not None
    }
    ours = {name: p.grad for name, p in adapter_tensors(module, report).items()}
    assert of_peft.keys() == ours.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, of_peft[name], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_pissa_equals_pefts_at_the_start_and_after_a_step(use_rslora):
    """PEFT changes the base and we do not; it does not accept double precision."""
    import peft

    module, ids, x = Small().float(), torch.tensor([[0, 3, 3], [6, 1, 3]]), torch.randn(2, 3, 6)
    config = {"use_rslora": use_rslora}
    config |= {"init_lora_weights": "pissa"}
    of_peft = peft.LoraConfig(r=3, lora_alpha=7, target_modules=["first", "second"], **config)
    other, untrained = peft.get_peft_model(Small().float(), of_peft), module(ids, x)
    report = inject(module, LoraSettings(rank=3, alpha=7, dropout=0, targets=("first", "second"), **config))
    for layer in report.layers:
        of_peft = other.base_model.model.get_submodule(layer.path)
        a, b = adapter_factors(module, report)[layer.path]
        torch.testing.assert_close(b @ a, of_peft.lora_B["default"].weight @ of_peft.lora_A["default"].weight)
    for model in (module, other):
        for step in range(3):
            output = model(ids, x)
            if step < 2:
                output.square().sum().backward()
                with torch.no_grad():
                    for parameter in (p for p in model.parameters() if p.requires_grad):
                        parameter -= 0.01 * parameter.grad
                        parameter.grad = None
    assert (module(ids, x) - untrained).abs().max() > 0.1
    torch.testing.assert_close(other(ids, x), module(ids, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", ["none", "all", "lora_only"])
def test_the_same_biases_train(bias):
    _, report, other = both({"rank": 2, "alpha": 4, "targets": ("first", "table"), "bias": bias}, r=2, bias=bias)
    of_peft = {name for name, p in other.named_parameters() if p.requires_grad and "lora_" not in name}
    assert {name.replace(".base_layer", "").removeprefix(PREFIX) for name in of_peft} == set(report.biases)
    assert len(of_peft) == {"none": 0, "all": 2, "lora_only": 1}[bias]


def package(tmp_path, module, rules, **how):
    lora = LoraSettings(**{"rank": 4, "dropout": 0, **how})
    report = inject(module, lora, rules)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in (tensor for tensor in adapter_tensors(module, report).values() if tensor.requires_grad):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    facts = package_facts(lora=lora, layers=report.layers, biases=report.biases)
    write_package(tmp_path / "adapter.zip", module, report, facts)
    with zipfile.ZipFile(tmp_path / "adapter.zip") as archive:
        archive.extractall(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_exported_adapter_on_linears_opens_with_peft_and_predicts_the_same(tmp_path):
    import peft

    module = tiny_module().train()
    x, y = torch.randn(1, 20, 4), torch.randint(0, 3, (1, 12)).float()
    base = module(x, y)
    folder = package(tmp_path, module, TargetRules(("linear1", "linear2", "icl_predictor.decoder")))
    opened = peft.PeftModel.from_pretrained(tiny_module(), folder).train()
    adapted = module(x, y)
    assert (adapted - base).abs().max() > 1e-2
    torch.testing.assert_close(opened(x, y), adapted, atol=1e-5, rtol=0)


PISSA = [{"init_lora_weights": "pissa", "use_rslora": use_rslora} for use_rslora in (False, True)]
ON_TABDPT = [
    *((one, TARGETS_OF_TABDPT, 1e-5) for one in (*VARIANTS, {"bias": "all", "use_dora": True}, {"bias": "lora_only"})),
    *((variant, ("transformer_encoder", "head"), 1e-4) for variant in PISSA),
]
"""Variants, targets from which they can be exported, and tolerances."""


@pytest.mark.parametrize(("variant", "targets", "near"), ON_TABDPT)
def test_an_exported_adapter_on_all_of_tabdpt_opens_with_peft_and_predicts_the_same(tmp_path, variant, targets, near):
    import peft

    module = tiny_tabdpt()
    base = tabdpt_logits(module)
    patterns = {"rank_pattern": {"ff.up": 2, "head.0": 7}, "alpha_pattern": {"transformer_encoder.0": 5}}
    folder = package(tmp_path, module, TargetRules(targets, unused=UNUSED_OF_TABDPT), **patterns, **variant)
    with torch.no_grad():
        opened = tabdpt_logits(peft.PeftModel.from_pretrained(tiny_tabdpt(), folder).eval())
        adapted = tabdpt_logits(module)
    assert (adapted - base).abs().max() > 1e-2
    torch.testing.assert_close(opened, adapted, atol=near, rtol=near / 10)


def test_peft_adapts_only_the_exact_paths_of_the_file(tmp_path):
    import peft

    def nested():
        return nn.Sequential(Small(), nn.ModuleDict({"0": Small()}))

    module = nested()
    folder = package(tmp_path, module, TargetRules(("1.0.first", "0.first", "0.table")), rank_pattern={"1": 2})
    opened, ids, x = peft.PeftModel.from_pretrained(nested(), folder), torch.tensor([0, 3]), torch.randn(2, 6).double()
    adapted = {name.removeprefix(PREFIX) for name, child in opened.named_modules() if hasattr(child, "lora_A")}
    assert adapted == {"1.0.first", "0.first", "0.table"}
    for path in ("0", "1.0"):
        torch.testing.assert_close(
            opened.base_model.model.get_submodule(path)(ids, x), module.get_submodule(path)(ids, x), atol=1e-12, rtol=0
        )


def test_an_adapter_on_attention_does_not_claim_to_open_with_peft(tmp_path):
    folder = package(tmp_path, tiny_module(), CATALOGUE["tabicl-v2"].rules("classification"))
    assert (folder / TENSORS).exists()
    assert not (folder / PEFT_CONFIG).exists()
    assert json.loads((folder / "tabtune.json").read_text())["opens_with_peft"] is False
    assert "Hugging Face PEFT cannot apply it" in (folder / "README.md").read_text()
