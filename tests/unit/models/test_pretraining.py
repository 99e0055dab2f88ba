"""Pre-training: one seed gives one run, it goes on from where it was stopped, its files open upstream. Tables are stand-ins here."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tabtune_core.models.pretraining import tables
from tabtune_core.models.pretraining.episodes import NOT_SCORED, Size, class_episode, class_loss, number_episode
from tabtune_core.models.pretraining.families import RECIPES
from tabtune_core.models.pretraining.loop import HOLD, pretrain, rate_factor, start_from
from tabtune_core.models.pretraining.tables import Group, Pool

SMALL = Size(40, 3)
NEEDS = {"tabicl-mini": "tabicl", "tabicl-mini-regressor": "tabicl", "tabdpt-mini": "tabdpt"}


def stand_in(seed, number):
    rng = np.random.default_rng([seed, number])
    x = torch.from_numpy(rng.normal(size=(4, 40, 3)).astype(np.float32))
    sums = x[:, :, 0] + 0.5 * x[:, :, 1]
    return Group(x, (sums > 0).float(), False) if number % 4 == 3 else Group(x, sums, True)


@pytest.fixture(autouse=True)
def no_prior(monkeypatch):
    monkeypatch.setattr(tables, "make_group", stand_in)


@pytest.fixture(params=RECIPES)
def family(request):
    pytest.importorskip(NEEDS.get(request.param, "autogluon.tabular"))
    return replace(RECIPES[request.param], first=SMALL, early=SMALL, late=SMALL)


def run(family, folder, steps, **options):
    folder.mkdir(exist_ok=True)
    return [losses for _, losses in pretrain(family, folder, Pool(folder.parent / "pool", 6), steps=steps, save_every=2, **options)]


def test_one_seed_gives_the_same_losses_and_another_gives_others(family, tmp_path):
    first = run(family, tmp_path / "a", 2)
    np.random.seed(7), torch.manual_seed(7)  # noqa: NPY002
    assert run(family, tmp_path / "b", 2) == first
    assert run(family, tmp_path / "c", 1, seed=1)[0] != first[0]


def test_it_goes_on_from_where_it_was_stopped(family, tmp_path):
    whole = run(family, tmp_path / "whole", 4)
    stream = pretrain(family, tmp_path, Pool(tmp_path / "pool", 6), steps=4, save_every=2)
    next(stream), next(stream), next(stream)  # stopped in the middle; the last save is after step 2
    stream.close()
    rest = [losses for _, losses in pretrain(family, tmp_path, Pool(tmp_path / "pool", 6), steps=4, resume=True)]
    assert rest == whole[2:]


def test_its_file_is_a_start_that_has_the_same_weights(family, tmp_path):
    run(family, tmp_path / "a", 2)
    trained, torch_state = family.build(), torch.load(tmp_path / "a" / "state.pt", weights_only=True)
    start_from(trained, tmp_path / "a" / family.file)
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, torch_state["average"][name], msg=name)


def test_of_several_starts_the_mean_is_taken(tmp_path):
    family = RECIPES["tabicl-mini"]
    for name, factor in (("a", 1.0), ("b", 3.0)):
        torch.manual_seed(0)
        module = family.build()
        module.load_state_dict({key: factor * value for key, value in module.state_dict().items()})
        family.save(module, tmp_path / f"{name}.ckpt")
    one, mean = family.build(), family.build()
    start_from(one, tmp_path / "a.ckpt")
    start_from(mean, tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    for name, value in one.state_dict().items():
        torch.testing.assert_close(mean.state_dict()[name], 2 * value, msg=name)


@pytest.mark.parametrize("kind", ["clusters", "multinomial"])
def test_wide_tables_of_many_classes_are_drawn_and_their_columns_tell_the_classes(kind):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(8, 300, 30))).float()
    size, group, right, chance, widest, most = Size(360, 64, linear=0.0, **{kind: 1.0}), Group(x, x[..., 0], True), [], [], 0, 0
    for _ in range(12):
        episode = class_episode(group, size, rng)
        context = episode.y_BC.shape[1]
        model = LogisticRegression(C=0.1).fit(episode.x_BTF[0, :context], episode.y_BC[0])
        scored = episode.targets_BQ[0] >= 0
        right.append(model.score(episode.x_BTF[0, context:][scored], episode.targets_BQ[0][scored]))
        chance.append(np.bincount(episode.targets_BQ[0][scored]).max() / int(scored.sum()))
        widest, most = max(widest, episode.x_BTF.shape[2]), max(most, int(episode.classes_B.max()))
    assert np.mean(right) > np.mean(chance) + 0.1
    assert most > 7
    assert widest > 20


def test_a_start_of_another_kind_gives_what_fits(tmp_path):
    run(RECIPES["tabicl-mini"], tmp_path / "a", 1)
    given = torch.load(tmp_path / "a" / "tabicl-mini.ckpt", weights_only=True)["state_dict"]
    other = RECIPES["tabicl-mini-regressor"].build()
    head = other.state_dict()["icl_predictor.decoder.2.weight"].clone()
    start_from(other, tmp_path / "a" / "tabicl-mini.ckpt")
    own = other.state_dict()
    assert torch.equal(own["icl_predictor.decoder.0.weight"], given["icl_predictor.decoder.0.weight"])
    assert torch.equal(own["icl_predictor.decoder.2.weight"], head)


def test_the_upstream_estimators_open_the_files(tmp_path):
    tabicl, tabdpt = pytest.importorskip("tabicl"), pytest.importorskip("tabdpt")
    run(RECIPES["tabdpt-mini"], tmp_path / "dpt", 1)
    run(RECIPES["tabicl-mini-regressor"], tmp_path / "icl", 1)
    x = np.random.default_rng(0).normal(size=(30, 3))
    local = dict(
        model_weight_path=str(tmp_path / "dpt" / "tabdpt-mini.safetensors"), device="cpu", use_flash=False, compile=False, verbose=False
    )
    classifier = tabdpt.TabDPTClassifier(**local)
    classifier.fit(x[:20], (x[:20, 0] > 0).astype(int))
    assert classifier.predict_proba(x[20:]).shape == (10, 2)
    icl = tabicl.TabICLRegressor(
        model_path=tmp_path / "icl" / "tabicl-mini-regressor.ckpt", allow_auto_download=False, device="cpu", n_estimators=1
    )
    for regressor in (tabdpt.TabDPTRegressor(**local), icl):
        regressor.fit(x[:20], x[:20, 0])
        assert np.isfinite(regressor.predict(x[20:])).all()


def test_mitra_opens_its_folder(tmp_path):
    pytest.importorskip("autogluon.tabular")
    from autogluon.tabular.models.mitra._internal.models.tab2d import Tab2D

    for name in ("mitra-mini-classifier", "mitra-mini-regressor"):
        run(RECIPES[name], tmp_path / name, 1)
        opened = Tab2D.from_pretrained(str(tmp_path / name / name), device="cpu")
        assert opened.dim_output == RECIPES[name].build().dim_output


def test_query_rows_of_a_class_that_the_context_lacks_are_not_scored():
    episode = class_episode(Group(torch.zeros(1, 10, 1), torch.arange(10.0)[None], False), Size(10, 1), np.random.default_rng(0))
    assert (episode.targets_BQ == NOT_SCORED).all()
    shared = class_episode(Group(torch.zeros(1, 20, 1), torch.tensor([[0.0, 1.0] * 10]), False), Size(20, 1), np.random.default_rng(0))
    logits_BQK = torch.zeros(*shared.targets_BQ.shape, 10)
    assert class_loss(logits_BQK, shared).item() == pytest.approx(np.log(2))


def test_a_numeric_target_is_scored_on_the_scale_of_its_context():
    episode = number_episode(stand_in(0, 0), SMALL, np.random.default_rng(0))
    torch.testing.assert_close(episode.y_BC.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(episode.y_BC.std(1), torch.ones(4), atol=1e-4, rtol=0)


def test_classes_cut_from_a_numeric_target_are_numbered_from_nought():
    episode = class_episode(stand_in(0, 0), SMALL, np.random.default_rng(0))
    ids_BT = torch.cat([episode.y_BC.long(), episode.targets_BQ], 1)
    assert ((ids_BT == NOT_SCORED) | ((ids_BT >= 0) & (ids_BT < episode.classes_B[:, None]))).all()


def test_a_pool_starts_over_after_its_last_group_and_keeps_what_it_made(tmp_path, monkeypatch):
    pool = Pool(tmp_path, 3)
    assert list(pool.fill()) == [2, 1, 0]
    monkeypatch.setattr(tables, "make_group", None)  # every group is on disk by now
    assert torch.equal(pool.group(4).x_BTF, pool.group(1).x_BTF)
    assert not torch.equal(pool.group(0).x_BTF, pool.group(1).x_BTF)


def test_the_rate_warms_up_holds_and_falls():
    factors = [rate_factor(step, 1000) for step in range(1000)]
    assert factors[0] == 0.02
    assert set(factors[60 : int(1000 * HOLD)]) == {1.0}
    assert factors[-1] == pytest.approx(0.02, abs=0.01)


def test_the_command_needs_no_package_of_another_family_to_start():
    code = "import sys, tabtune_core.models.pretraining.__main__; print({'tabicl', 'tabdpt', 'autogluon', 'xgboost'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
