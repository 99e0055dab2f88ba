"""Pre-training: a seed determines the run, it resumes from any interruption, and its files open upstream."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch.optim import _muon as muon

from tabtune_core.errors import CheckpointError, MissingPackageError
from tabtune_core.models.catalogue import CATALOGUE, WEIGHTS
from tabtune_core.models.checkpoints import sha256_of
from tabtune_core.models.pretraining import __main__, episodes, loop, state
from tabtune_core.models.pretraining.episodes import (
    NOT_SCORED,
    Size,
    class_episode,
    class_loss,
    draw_episode,
    number_episode,
)
from tabtune_core.models.pretraining.families import RECIPES
from tabtune_core.models.pretraining.held_out import OTHER, held_out
from tabtune_core.models.pretraining.loop import Pretraining, begin_decay, rate_factor, size_at, start_from
from tabtune_core.models.pretraining.prior import FEWEST_OF_A_CLASS, draw_table
from tabtune_core.models.pretraining.state import STATE, Progress, read_milestone, read_state
from tabtune_core.models.tabicl.family import MINI

SMALL = Size(40, 3)
NEEDS = {"tabicl-mini": "tabicl", "tabicl-mini-regressor": "tabicl", "tabdpt-mini": "tabdpt"}
TINY = {
    "embed_dim": 8,
    "col_num_blocks": 1,
    "row_num_blocks": 1,
    "icl_num_blocks": 2,
    "col_num_inds": 4,
    "row_nhead": 2,
    "col_nhead": 2,
}


@pytest.fixture(autouse=True)
def _cheap_steps(monkeypatch):
    monkeypatch.setattr(loop, "STEP_PASSES", 2)
    monkeypatch.setattr(episodes, "CELLS", 480)


def few(size, *, classes):
    return {"few": [draw_episode(np.random.default_rng(1), size, classes=classes)]}


def recipe(name):
    config = RECIPES[name].config
    inner = {"model": {**config["model"], "nlayers": 2}} if "model" in config else {}
    smaller = {part: size for part, size in {**TINY, "n_layers": 2}.items() if part in config}
    return replace(RECIPES[name], size=SMALL, config={**config, **inner, **smaller})


@pytest.fixture(params=RECIPES)
def family(request):
    pytest.importorskip(NEEDS.get(request.param, "autogluon.tabular"))
    return request.param


def training(folder, family="tabicl-mini", **options):
    return Pretraining(
        family, folder, recipes={family: recipe(family)}, lists=few, **{"saves": 2, "looks": 2, **options}
    )


def losses(folder, until, family="tabicl-mini", **options):
    folder.mkdir(exist_ok=True)
    return [progress.losses[-1] for progress in training(folder, family, **options).steps(until)]


def weights_in(folder):
    """Tensors of the model, the average and the optimizers in a fixed order, and everything else that the next step
    depends on.
    """
    progress, tensors = read_state(folder)
    flat = [*tensors["model"].values(), *tensors["average"].values()]
    for optimizer in tensors["optimizers"]:
        flat += [
            value
            for entry in optimizer["state"].values()
            for value in entry.values()
            if isinstance(value, torch.Tensor)
        ]
    history = [{**entry, "hours": 0} for entry in progress.history]
    return [replace(progress, seconds=0.0, history=history), *flat]


def assert_same(one, other):
    assert one[0] == other[0]
    assert len(one) == len(other) > 10
    assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))


def test_losses_depend_on_the_seed_and_training_can_start_from_its_weights(family, tmp_path):
    first = losses(tmp_path / "a", 2, family)
    np.random.seed(7), torch.manual_seed(7)  # noqa: NPY002
    assert losses(tmp_path / "b", 2, family) == first
    assert losses(tmp_path / "c", 1, family, seed=1)[0] != first[0]
    module = recipe(family).make()
    start_from(module, tmp_path / "a" / RECIPES[family].file)
    for name, value in read_state(tmp_path / "a")[1]["average"].items():
        torch.testing.assert_close(module.state_dict()[name], value, msg=name)


def test_killed_at_any_moment_it_resumes_as_if_uninterrupted(tmp_path, monkeypatch):
    """A kill leaves the disk as it is at a moment when a file is synced or moved; each such moment is tried."""
    losses(tmp_path / "whole", 2, saves=1)
    disks, killed = [], tmp_path / "killed"

    def noting(function):
        def noted(*arguments, **options):
            disks.append(shutil.copytree(killed, tmp_path / f"disk {len(disks)}"))
            result = function(*arguments, **options)
            disks.append(shutil.copytree(killed, tmp_path / f"disk {len(disks)}"))
            return result

        return noted

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", noting(os.fsync))
        patched.setattr(Path, "replace", noting(Path.replace))
        losses(killed, 2, saves=1)
    left = {tuple(sorted((file.name, file.read_bytes()) for file in disk.iterdir())): disk for disk in disks}
    assert len(left) > 7
    for disk in left.values():
        losses(disk, 2, saves=1)
        assert_same(weights_in(disk), weights_in(tmp_path / "whole"))


def test_a_step_with_a_nan_gradient_changes_nothing(tmp_path):
    def broken(model, episode):
        output = model(episode.x_BTF, episode.y_BC)
        return (output * 0).sum().sqrt()  # the value is 0, its gradient NaN

    bad = replace(recipe("tabicl-mini"), losses={"classes": broken})
    run = Pretraining("tabicl-mini", tmp_path, recipes={"tabicl-mini": bad}, lists=few)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    next(run.steps())
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize("shape", [(48, 16), (16, 48), (24, 24)])
def test_muon_equals_torchs_except_for_precision(shape):
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = (
        way(grad, (3.4445, -4.775, 2.0315), 5, 1e-7).float()
        for way in (loop._orthogonal, muon._zeropower_via_newtonschulz)
    )
    torch.testing.assert_close(ours, theirs, atol=0.03, rtol=0)


def test_a_full_disk_while_saving_keeps_the_earlier_state_and_is_reported(tmp_path, monkeypatch):
    steps = (run := training(tmp_path)).steps(6)
    next(steps), next(steps)
    before = (tmp_path / STATE).read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        next(steps), next(steps)
    assert "could not be written, the one before stays: [Errno 28] No space left" in run.trouble
    assert (tmp_path / STATE).read_bytes() == before
    assert not list(tmp_path.glob("*partial*"))
    list(steps)
    assert run.trouble is None and read_state(tmp_path)[0].step == 6
    losses(tmp_path / "whole", 6)
    assert_same(weights_in(tmp_path), weights_in(tmp_path / "whole"))


def test_a_truncated_or_changed_state_or_weights_file_is_never_loaded(tmp_path):
    losses(tmp_path, 2)
    weights = tmp_path / "tabicl-mini.ckpt"
    whole = {file: file.read_bytes() for file in (tmp_path / STATE, weights)}
    for share in (0.999, 0.9, 0.5, 0.001, 0.0):
        for file, content in whole.items():
            file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(CheckpointError, match="state.pt is (damaged|not a state)"):
            training(tmp_path)
        with pytest.raises(CheckpointError, match="one of them was truncated"):
            training(tmp_path / "other", start=weights)
    weights.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        training(tmp_path / "other", start=weights)
    for place in (100, -100):
        changed = bytearray(whole[tmp_path / STATE])
        changed[place] ^= 1
        (tmp_path / STATE).write_bytes(changed)
        with pytest.raises(CheckpointError, match="state.pt is damaged: its content is not what was written"):
            training(tmp_path)


def test_it_does_not_resume_with_another_recipe_or_version(tmp_path):
    losses(tmp_path, 2)
    for asked, said in (
        ({"seed": 3}, "seed 0, and 3"),
        ({"rate": 0.5}, "rate 0.001, and 0.5"),
        ({"growth": 9}, "growth 4000"),
    ):
        with pytest.raises(CheckpointError, match=f"has the {said}.* Leave it out, or name another folder"):
            training(tmp_path, **asked)
    deeper = replace(recipe("tabicl-mini"), config={**MINI, **TINY, "icl_num_blocks": 4})
    with pytest.raises(
        CheckpointError, match="has the config {'icl_num_blocks': 2}, and {'icl_num_blocks': 4} was asked for"
    ):
        Pretraining("tabicl-mini", tmp_path, recipes={"tabicl-mini": deeper}, lists=few)
    with pytest.raises(CheckpointError, match="was written by another version of the pre-training"):
        state._progress({"family": "tabicl-mini", "unheard_of": 1}, tmp_path / STATE)


def test_a_state_of_changed_code_resumes_with_a_notice(tmp_path, monkeypatch):
    losses(tmp_path, 2)
    assert not training(tmp_path).other_code
    monkeypatch.setattr(loop, "code_now", lambda: "another")
    later = training(tmp_path)
    assert later.other_code and later.progress.code == "another"
    assert len(list(later.steps(4))) == 2


def test_the_error_for_a_missing_start_names_it(tmp_path):
    with pytest.raises(CheckpointError, match="There are no weights at .*nowhere.ckpt to begin with"):
        training(tmp_path, start=tmp_path / "nowhere.ckpt")


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with (
        state.one_training(tmp_path),
        pytest.raises(CheckpointError, match="Another process trains in"),
        state.one_training(tmp_path),
    ):
        raise AssertionError


def test_a_milestone_resumes_with_its_counters_and_its_curve(tmp_path):
    losses(tmp_path / "a", 4)
    later = training(tmp_path / "b", start=tmp_path / "a" / "tabicl-mini.ckpt")
    before = read_state(tmp_path / "a")[0]
    assert (later.progress.step, later.progress.tables, later.progress.seconds) == (4, before.tables, before.seconds)
    assert [entry["step"] for entry in later.progress.history] == [0, 2, 4]
    assert rate_factor(later.progress) == pytest.approx(1 / 50)  # optimizers start anew
    assert read_milestone(tmp_path / "a" / "tabicl-mini.ckpt") == before
    assert later.progress.started_from == sha256_of(tmp_path / "a" / "tabicl-mini.ckpt")
    assert before.tables > 8 and before.hours > 0


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_shipped_weights_are_a_milestone_to_resume_from(task):
    weights = CATALOGUE["tabicl-mini"].weights[task]
    led = read_milestone(WEIGHTS / weights.file)
    assert led is not None
    assert led.config == weights.config == RECIPES[led.family].config
    assert led.step == led.history[-1]["step"] > 0, "the last reported loss belongs to these weights"


def test_a_deeper_model_starts_as_the_same_function(tmp_path):
    losses(tmp_path, 4)
    (episode,) = few(SMALL, classes=True)["few"]
    modules = [
        replace(recipe("tabicl-mini"), config={**MINI, **TINY, "icl_num_blocks": blocks}).make() for blocks in (2, 4, 6)
    ]
    for module in modules:
        start_from(module, tmp_path / "tabicl-mini.ckpt")
    shallow, *deeper = (module(episode.x_BTF, episode.y_BC) for module in modules)
    assert shallow.std() > 0.01
    for module, output in zip(modules[1:], deeper, strict=True):
        torch.testing.assert_close(output, shallow)
        output.logsumexp(-1).mean().backward()
        assert (module.icl_predictor.tf_icl.blocks[1].linear2.weight.grad != 0).any()


def test_a_start_of_another_kind_gives_the_tensors_that_fit(tmp_path):
    losses(tmp_path / "a", 1, saves=1)
    path = tmp_path / "a" / "tabicl-mini.ckpt"
    given = torch.load(path, weights_only=True)["state_dict"]
    other = recipe("tabicl-mini-regressor").make()
    head = other.state_dict()["icl_predictor.decoder.2.weight"].clone()
    start_from(other, path)
    own = other.state_dict()
    assert torch.equal(own["icl_predictor.decoder.0.weight"], given["icl_predictor.decoder.0.weight"])
    assert torch.equal(own["icl_predictor.decoder.2.weight"], head)


def test_the_rate_decays_in_a_separate_branch_that_can_resume(tmp_path):
    losses(tmp_path, 4)
    trunk, branch = (tmp_path / STATE).read_bytes(), tmp_path / "decay"
    begin_decay(tmp_path, branch, 4, [90, 100])
    steps = training(branch).steps()
    rates = [progress.rate * rate_factor(progress) for progress, _ in zip(steps, range(2), strict=False)]
    begin_decay(tmp_path, branch, 4, [90, 100])
    rates += [progress.rate * rate_factor(progress) for progress in training(branch).steps()]
    assert read_state(branch)[0].step == 8 and (tmp_path / STATE).read_bytes() == trunk
    assert rates[-1] == pytest.approx(1e-3 * 0.02)
    for path, kind in ((tmp_path, torch.float32), (branch, torch.bfloat16)):
        shipped = torch.load(path / "tabicl-mini.ckpt", weights_only=True)["state_dict"]
        assert {value.dtype for value in shipped.values()} == {kind}
        assert all(torch.equal(value.float(), read_state(path)[1]["average"][name]) for name, value in shipped.items())
    assert training(branch).progress.rows == [90, 100] and training(tmp_path).progress.rows is None
    with pytest.raises(CheckpointError, match=r"has the rows \[90, 100\], and \[64, 100\] was asked for"):
        training(branch, rows=[64, 100])
    with pytest.raises(CheckpointError, match="There is no training in .* whose rate could fall"):
        begin_decay(tmp_path / "nowhere", tmp_path / "x", 4)


def test_the_rate_warms_up_and_then_stays_constant():
    plan = {"family": "", "config": {}, "seed": 0, "rate": 1.0, "growth": 1, "code": ""}
    factors = [rate_factor(Progress(**plan, step=step)) for step in (0, 24, 49, 50, 10**6)]
    assert factors == [0.02, 0.5, 1.0, 1.0, 1.0]


def test_tables_grow_from_small_ones_to_their_full_size():
    sizes = [size_at(step, 100, Size(2048, 100)) for step in range(0, 130, 10)]
    assert (sizes[0], sizes[5], sizes[-1]) == (Size(128, 8), Size(512, 28), Size(2048, 100))
    assert sizes == sorted(sizes, key=lambda size: size.rows)
    assert size_at(0, 100, SMALL) == SMALL


def test_the_rows_of_tables_can_be_chosen(tmp_path, monkeypatch):
    drawn = []

    def noting(rng, size, *, classes):
        drawn.append(draw_episode(rng, size, classes=classes))
        return drawn[-1]

    monkeypatch.setattr(loop, "draw_episode", noting)
    losses(tmp_path, 4, growth=1, rows=[90, 100])
    lengths = {episode.x_BTF.shape[1] for episode in drawn[2:]}  # the first step is of the smallest tables
    assert len(lengths) > 1 and lengths <= set(range(90, 101))
    monkeypatch.setattr(sys, "argv", ["pretraining", "tabicl-mini", str(tmp_path), "--rows", "100", "90"])
    with pytest.raises(SystemExit):
        __main__.main()


@pytest.mark.parametrize("classes", [True, False])
def test_tables_are_complete_and_varied(classes):
    rng, tables = np.random.default_rng(0), []
    for seed in range(100):
        rows, features = int(rng.integers(64, 600)), int(rng.integers(2, 51))
        tables.append(draw_table(np.random.default_rng(seed), rows, features, classes=classes))
        assert tables[-1].x_TF.shape == (rows, features) and np.isfinite(tables[-1].y_T).all()
    np.testing.assert_array_equal(
        draw_table(np.random.default_rng(99), rows, features, classes=classes).x_TF, tables[-1].x_TF
    )
    counts = [np.bincount(table.y_T.astype(int)) for table in tables] if classes else []
    assert all(2 <= len(count) <= 10 and count.min() >= FEWEST_OF_A_CLASS for count in counts)
    columns = [column[np.isfinite(column)] for table in tables for column in table.x_TF.T]
    codes = [len(np.unique(column)) for column in columns if (column == column.round()).all()]
    assert (
        max(codes) > 40 and np.mean(np.array(codes) <= 10) > 0.2
    )  # categories and grades with many and with few levels
    assert 0.2 < np.mean([np.isnan(table.x_TF).any() for table in tables]) < 0.5
    assert max(np.abs(column).max() / (np.median(np.abs(column)) + 1e-9) for column in columns) > 1000  # heavy tails
    assert any((column > 2000).all() for column in columns)  # dates
    assert not classes or min(count.min() / count.sum() for count in counts) < 0.03  # rare classes


def test_columns_predict_the_target():
    right, chance = [], []
    for seed in range(30):
        episode = draw_episode(np.random.default_rng(seed), Size(300, 12), classes=True)
        x_TF, y_C, y_Q = (one.numpy() for one in (episode.x_BTF[0], episode.y_BC[0].long(), episode.targets_BQ[0]))
        scored, x_CF, x_QF = y_Q != NOT_SCORED, x_TF[: len(y_C)], x_TF[len(y_C) :]
        right.append(RandomForestClassifier(20, random_state=0).fit(x_CF, y_C).score(x_QF[scored], y_Q[scored]))
        chance.append(np.mean(y_Q[scored] == np.bincount(y_C).argmax()))
    assert np.mean(right) > np.mean(chance) + 0.05


@pytest.mark.parametrize("classes", [True, False])
def test_held_out_tables_are_always_the_same_also_for_another_prior(classes):
    pytest.importorskip("xgboost")
    np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    one, other = (held_out(Size(300, 8), classes=classes, episodes=1) for _ in range(2))
    assert list(one) == ["to 256 rows", "to 1,024 rows", OTHER]
    for name, drawn in one.items():
        assert torch.equal(drawn[0].x_BTF, other[name][0].x_BTF)
        assert torch.isfinite(drawn[0].x_BTF).all()


def test_held_out_tables_do_not_depend_on_the_hash_seed_of_the_process():
    pytest.importorskip("xgboost")
    code = (
        "from tabtune_core.models.pretraining.held_out import *\n"
        "print({name: [float(one.x_BTF.sum()) for one in drawn] for name, drawn in held_out(Size(300, 8), "
        "classes=True, episodes=6).items()})"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        )
        for seed in ("1", "2")
    ]
    assert told[0].stdout == told[1].stdout != ""


@pytest.mark.parametrize("classes", [True, False])
def test_features_are_prepared_as_in_the_product(classes):
    tabicl = pytest.importorskip("tabtune_core.models.tabicl.model")
    table = next(
        table
        for seed in range(99)
        if np.isnan((table := draw_table(np.random.default_rng(seed), 90, 6, classes=classes)).x_TF[:60]).any()
    )
    from tabtune_core.models.pretraining.episodes import read_episode

    episode = read_episode([table.x_TF], [table.y_T], 60, classes=classes)
    theirs = tabicl.TabICLModel.fit_preprocessing(None, table.x_TF[:60])(table.x_TF)
    np.testing.assert_allclose(episode.x_BTF[0], theirs, atol=1e-4)


def test_query_rows_of_a_class_missing_from_the_context_are_not_scored():
    episode = class_episode(torch.zeros(1, 10, 1), torch.arange(10.0)[None], 5)
    assert (episode.targets_BQ == NOT_SCORED).all()
    shared = class_episode(torch.zeros(1, 20, 1), torch.tensor([[0.0, 1.0] * 10]), 10)
    assert class_loss(torch.zeros(*shared.targets_BQ.shape, 10), shared).item() == pytest.approx(np.log(2))


def test_a_numeric_target_is_scored_on_the_scale_of_its_context():
    y_BT = torch.from_numpy(np.random.default_rng(0).normal(5, 3, (4, 40)))
    episode = number_episode(torch.zeros(4, 40, 2), y_BT, 20)
    torch.testing.assert_close(episode.y_BC.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(episode.y_BC.std(1), torch.ones(4), atol=1e-4, rtol=0)


def test_the_upstream_estimators_open_the_files(tmp_path):
    tabicl, tabdpt = pytest.importorskip("tabicl"), pytest.importorskip("tabdpt")
    losses(tmp_path / "dpt", 1, "tabdpt-mini")
    losses(tmp_path / "icl", 1, "tabicl-mini-regressor")
    x = np.random.default_rng(0).normal(size=(30, 3))
    local = dict(
        model_weight_path=str(tmp_path / "dpt" / "tabdpt-mini.safetensors"),
        device="cpu",
        use_flash=False,
        compile=False,
        verbose=False,
    )
    classifier = tabdpt.TabDPTClassifier(**local)
    classifier.fit(x[:20], (x[:20, 0] > 0).astype(int))
    assert classifier.predict_proba(x[20:]).shape == (10, 2)
    icl = tabicl.TabICLRegressor(
        model_path=tmp_path / "icl" / "tabicl-mini-regressor.ckpt",
        allow_auto_download=False,
        device="cpu",
        n_estimators=1,
    )
    for regressor in (tabdpt.TabDPTRegressor(**local), icl):
        regressor.fit(x[:20], x[:20, 0])
        assert np.isfinite(regressor.predict(x[20:])).all()


def test_mitra_opens_its_folder(tmp_path):
    pytest.importorskip("autogluon.tabular")
    from autogluon.tabular.models.mitra._internal.models.tab2d import Tab2D

    for name in ("mitra-mini-classifier", "mitra-mini-regressor"):
        losses(tmp_path / name, 1, name)
        opened = Tab2D.from_pretrained(str(tmp_path / name / name), device="cpu")
        assert opened.dim_output == recipe(name).make().dim_output


def test_a_missing_package_ends_a_resumed_training_before_its_first_step(tmp_path):
    list(training(tmp_path).steps(until=1))

    def without_package(size, *, classes):
        raise MissingPackageError("needs a package")

    resumed = Pretraining(
        "tabicl-mini", tmp_path, recipes={"tabicl-mini": recipe("tabicl-mini")}, lists=without_package
    )
    with pytest.raises(MissingPackageError):
        next(resumed.steps())
    assert resumed.progress.step == 1


def test_the_command_reports_progress_and_resumes_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    def stop(size, *, classes):
        os.kill(os.getpid(), signal.SIGTERM)
        return few(size, classes=classes)

    monkeypatch.setitem(RECIPES, "tabicl-mini", recipe("tabicl-mini"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for lists, steps in ((stop, "50"), (few, "12")):
        monkeypatch.setitem(Pretraining.__init__.__kwdefaults__, "lists", lists)
        monkeypatch.setattr(sys, "argv", ["pretraining", "tabicl-mini", str(tmp_path), "--steps", steps])
        __main__.main()
    for number, handler in before.items():
        signal.signal(number, handler)
    lines = capsys.readouterr().out.splitlines()
    assert "Stopped; the same command goes on." in lines[2] and f"From step 1 in {tmp_path}" == lines[3]
    assert re.fullmatch(r"step 10  \d+ tables  0\.\d+ CPU hours  loss \d\.\d+", lines[4])
    assert lines[5].startswith("held out, classes: few ")
    assert json.loads((tmp_path / "tabicl-mini.json").read_text())["step"] == 12


def test_the_command_needs_no_package_of_another_family_to_start():
    code = (
        "import sys, tabtune_core.models.pretraining.__main__; print({'tabicl', 'tabdpt', 'autogluon', 'xgboost'} "
        "& set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
