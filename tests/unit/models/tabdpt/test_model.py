"""TabDPT: what a file must hold, what training sees, and how numbers are predicted."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_checkpoint

from tabtune_core.errors import CheckpointError
from tabtune_core.lora.inject import inject
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.tabdpt.model import read_checkpoint
from tabtune_core.settings import LoraSettings

CARD = CATALOGUE["tabdpt-1.3"]
CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("task", ["classification", "regression"])


def open_tiny(tmp_path, task):
    return load_model(CARD, task, CPU, tiny_checkpoint(tmp_path / "tiny.safetensors", CARD.name))


def adapt(model, targets=()):
    return inject(model.module, LoraSettings(rank=2, dropout=0.0, targets=targets), CARD.rules(model.task))


def episode(task, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 30, 5, generator=generator)
    y = torch.randn(1, 30, generator=generator)
    y = (y > 0).long() + (y > 1).long() if task == "classification" else y
    return x, y[:, :20], y[:, 20:], 3 if task == "classification" else 0


def as_saved_by_1_2(tensors):
    return {name.replace("reg_y_encoders", "y_encoders"): one for name, one in tensors.items() if "cls_y" not in name}


def without_encoder(tensors):
    return {name: tensor for name, tensor in tensors.items() if name != "encoder.weight"}


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (as_saved_by_1_2, "{}", "holds the weights of TabDPT 1.2 or earlier; the installed"),
        (dict, "{}", "it lacks the entry 'model'"),
        (
            dict,
            '{"env": {}, "training": {"dropout": 0.0}, "model": {"max_num_classes": 4}}',
            "does not fit the installed tabdpt package",
        ),
        (without_encoder, None, r"Missing key\(s\) in state_dict: \"encoder.weight\""),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(tmp_path, change, config, message):
    _, own = read_checkpoint(tiny_checkpoint(tmp_path / "tiny.safetensors", CARD.name), CARD, "regression")
    save_file(
        change(load_file(tmp_path / "tiny.safetensors")), tmp_path / "bad.safetensors", metadata={"cfg": config or own}
    )
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "bad.safetensors", CARD, "regression")


@BOTH
def test_query_rows_do_not_see_each_other_even_while_training(tmp_path, task):
    model = open_tiny(tmp_path, task)
    x, y_context, y_query, classes = episode(task)
    x[:, 20:] *= torch.linspace(1, 30, 10)[:, None]  # outliers that would change statistics taken over query rows
    model.module.train()
    together = model.loss(x, y_context, y_query, classes)
    alone = [model.loss(x[:, [*range(20), 20 + i]], y_context, y_query[:, [i]], classes) for i in range(10)]
    torch.testing.assert_close(together, torch.stack(alone).mean(), atol=1e-5, rtol=0)
    assert model.module.training, "the loss must not change the training flag"


def test_the_loss_of_many_classes_is_the_cross_entropy_of_the_predictions(tmp_path):
    model = open_tiny(tmp_path, "classification")
    x, *_ = episode("classification")
    y = torch.arange(30) % 7  # more classes than the model's 4
    predicted = model.predict(x[0, :20].numpy(), y[:20].numpy(), x[0, 20:].numpy(), 7)
    expected = -np.log(predicted[np.arange(10), y[20:]]).mean()
    assert model.loss(x, y[None, :20], y[None, 20:], 7).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("factor", "offset"), [(1e-9, 0.0), (1e12, 0.0), (2.0, 1e6)])
def test_numbers_may_have_any_unit(tmp_path, factor, offset):
    model = open_tiny(tmp_path, "regression")
    x, y_context, *_ = episode("regression")
    target = y_context[0].double().numpy()
    plain, other = (
        model.predict(x[0, :20].numpy(), y, x[0, 20:].numpy(), 0) for y in (target, factor * target + offset)
    )
    np.testing.assert_allclose((other - offset) / factor, plain, atol=1e-5)


@pytest.mark.parametrize("context", [[7.0] * 20, [7.0]])
def test_a_constant_target_is_predicted_exactly(tmp_path, context):
    model = open_tiny(tmp_path, "regression")
    predicted = model.predict(np.ones((len(context), 2), "f4"), np.array(context), np.zeros((3, 2), "f4"), 0)
    np.testing.assert_allclose(predicted, 7.0)


@BOTH
def test_layers_smaller_than_their_adapter_are_skipped_unless_named(tmp_path, task):
    report = adapt(open_tiny(tmp_path, task))
    gates = ["transformer_encoder.0.q_gate", "transformer_encoder.1.q_gate"]
    numbers = {"classification": [], "regression": ["reg_y_encoders.0.0", "reg_y_encoders.1.0"]}  # of one number each
    assert sorted(report.left_out) == numbers[task] + gates
    assert [layer.path for layer in adapt(open_tiny(tmp_path, task), targets=("q_gate",)).layers] == gates


def test_the_projection_of_many_features_is_always_the_same_and_learnt_from_the_context(tmp_path):
    model = open_tiny(tmp_path, "regression")
    rng = np.random.default_rng(0)
    x, state = rng.normal(size=(40, 30)), torch.get_rng_state()
    first = model.fit_preprocessing(x)
    assert torch.equal(torch.get_rng_state(), state), "the global generator must not be used"
    torch.manual_seed(5)
    np.testing.assert_array_equal(first(x), model.fit_preprocessing(x)(x))
    assert first(x).shape == (40, 16)
    # equal except for the order of BLAS sums, which may depend on the number of rows
    np.testing.assert_allclose(first(100 * x[:1]), first(np.vstack([100 * x[:1], x]))[:1], rtol=2e-6)
