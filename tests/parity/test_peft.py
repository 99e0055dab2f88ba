"""Do we agree with Hugging Face PEFT?"""

import json
import zipfile

import peft
import pytest
import torch
from tiny import tiny_module
from torch import nn

from tabtune_core.lora.adapter_file import PEFT_CONFIG, TENSORS, write_package
from tabtune_core.lora.inject import adapter_factors, inject
from tabtune_core.lora.layers import LoRALinear
from tabtune_core.models.catalogue import CATALOGUE

FACTS = {
    "settings": {"lora": {"rank": 4}, "target": "y"}, "base": {"model": "tabicl-v2", "file": "x.ckpt", "sha256": "0", "repository": None},
    "classes": ["a", "b"], "context": {"rows": [0], "sha256": "0"}, "table": {"name": "t.csv"}, "versions": {"tabtune_core": "0"},
}  # fmt: skip


@pytest.mark.parametrize(("rank", "alpha"), [(1, 2), (3, 7)])
def test_our_linear_equals_pefts_on_the_same_weights(rank, alpha):
    torch.manual_seed(0)
    base, x = nn.Sequential(nn.Linear(6, 5)), torch.randn(9, 6, requires_grad=True)
    layer = LoRALinear(base[0], r=rank, alpha=alpha, dropout=0.0)
    nn.init.normal_(layer.lora_B.weight)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=["0"])
    other = peft.get_peft_model(nn.Sequential(nn.Linear(6, 5)), config)
    theirs = other.base_model.model[0]
    theirs.base_layer.load_state_dict(layer.base.state_dict())
    theirs.lora_A["default"].load_state_dict(layer.lora_A.state_dict())
    theirs.lora_B["default"].load_state_dict(layer.lora_B.state_dict())
    torch.testing.assert_close(layer(x), other(x), atol=1e-6, rtol=0)
    layer(x).square().sum().backward()
    other(x).square().sum().backward()
    torch.testing.assert_close(layer.lora_A.weight.grad, theirs.lora_A["default"].weight.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.lora_B.weight.grad, theirs.lora_B["default"].weight.grad, atol=1e-5, rtol=1e-5)


def package(tmp_path, module, targets):
    card = CATALOGUE["tabicl-v2"]
    report = inject(
        module,
        rank=4,
        alpha=8,
        dropout=0.0,
        targets=targets,
        groups=card.family.groups["classification"],
        passed_over=card.family.passed_over,
    )
    for _, b in adapter_factors(module, report).values():
        nn.init.normal_(b, std=0.2, generator=torch.Generator().manual_seed(2))
    write_package(tmp_path / "adapter.zip", module, report, dropout=0.0, facts=FACTS)
    with zipfile.ZipFile(tmp_path / "adapter.zip") as archive:
        archive.extractall(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_exported_adapter_on_linears_opens_with_peft_and_predicts_the_same(tmp_path):
    module = tiny_module().train()
    x, y = torch.randn(1, 20, 4), torch.randint(0, 3, (1, 12)).float()
    base = module(x, y)
    folder = package(tmp_path, module, ("linear1", "linear2", "icl_predictor.decoder"))
    opened = peft.PeftModel.from_pretrained(tiny_module(), folder).train()
    adapted = module(x, y)
    assert (adapted - base).abs().max() > 1e-2
    torch.testing.assert_close(opened(x, y), adapted, atol=1e-5, rtol=0)


def test_an_adapter_on_attention_does_not_claim_to_open_with_peft(tmp_path):
    folder = package(tmp_path, tiny_module(), CATALOGUE["tabicl-v2"].family.targets)
    assert (folder / TENSORS).exists()
    assert not (folder / PEFT_CONFIG).exists()
    assert json.loads((folder / "tabtune.json").read_text())["opens_with_peft"] is False
    assert "Hugging Face PEFT cannot apply it" in (folder / "README.md").read_text()
