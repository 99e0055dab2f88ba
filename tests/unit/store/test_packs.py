"""Which runs of a quick sweep train together."""

import dataclasses

import pytest

from tabtune_core.errors import SettingError
from tabtune_core.models.catalogue import check_request
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.packs import MOST_TOGETHER, fellows, largest_pack
from tabtune_core.store.runs import RunStore

RUN = RunSettings(dataset="d", target="y", quick_sweep=True)


def names(store, place=0):
    queued = store.runs(status="queued")
    return [run.name for run in fellows(queued[place], queued)]


def test_loras_that_differ_in_size_strength_and_rate_train_together_under_each_seed(tmp_path):
    store = RunStore(tmp_path)
    store.add_sweep(SweepSettings(run=RUN, ranks=(2, 4), dropouts=(0.0, 0.1), learning_rates=(1e-4, 2e-4), seeds=(0, 1)).expand())
    runs = store.runs()
    packs = {frozenset(run.id for run in fellows(one, runs)) for one in runs if one.settings.strategy == "peft"}
    assert [len(pack) for pack in packs] == [8, 8]
    assert [len({store.run(run_id).settings.seed for run_id in pack}) for pack in packs] == [1, 1]
    assert [len(fellows(run, runs)) for run in runs if run.settings.strategy != "peft"] == [1] * 8


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(RUN, quick_sweep=False),
        dataclasses.replace(RUN, lora=LoraSettings(targets=("decoder",))),
        dataclasses.replace(RUN, train=TrainSettings(context_rows=99)),
        dataclasses.replace(RUN, seed=1),
    ],
)
def test_runs_of_other_work_train_alone(other, tmp_path):
    store = RunStore(tmp_path)
    store.add_sweep([RUN, other])
    store.add_sweep([RUN])
    assert [len(fellows(run, store.runs())) for run in store.runs()] == [1, 1, 1]


def test_a_pack_has_a_largest_size(tmp_path):
    store = RunStore(tmp_path)
    settings = [dataclasses.replace(RUN, lora=LoraSettings(rank=rank)) for rank in range(1, MOST_TOGETHER + 4)]
    store.add_sweep(settings)
    assert len(names(store, 9)) == largest_pack(settings) == MOST_TOGETHER
    assert names(store, 9)[0] == "LoRA r=10"
    assert largest_pack([dataclasses.replace(one, quick_sweep=False) for one in settings]) == largest_pack([]) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"lora": LoraSettings(use_dora=True)}, "lora.use_dora"),
        ({"lora": LoraSettings(init_lora_weights="pissa")}, "lora.init_lora_weights"),
        ({"lora": LoraSettings(bias="all")}, "lora.bias"),
        ({"train": TrainSettings(amp="bf16")}, "train.amp"),
        ({"train": TrainSettings(gradient_checkpointing=True)}, "train.gradient_checkpointing"),
        ({"train": TrainSettings(cuda_graph=True)}, "train.cuda_graph"),
        ({"train": TrainSettings(time_limit=60.0)}, "train.time_limit"),
    ],
)
def test_what_one_pass_cannot_do_is_refused(more, said):
    with pytest.raises(SettingError, match=f"quick_sweep cannot train runs in one pass with {said}; leave one of the two out"):
        dataclasses.replace(RUN, **more)


def test_a_model_whose_tables_are_not_stacked_is_refused():
    with pytest.raises(SettingError, match="TabICL models can do that, TabDPT mini cannot. Leave it out"):
        check_request(dataclasses.replace(RUN, model="tabdpt-mini"))


def test_without_lora_it_changes_nothing_and_is_refused():
    with pytest.raises(SettingError, match="quick_sweep changes nothing with the strategy 'base-ft'; leave it out"):
        dataclasses.replace(RUN, strategy="base-ft")


@pytest.mark.parametrize("target", ["col_embedder.in_linear", "icl_predictor.tf_icl.blocks.0.attn.ssmax_layer"])
def test_layers_that_read_no_table_of_a_run_are_refused(target):
    with pytest.raises(
        SettingError, match=f"quick_sweep cannot train {target}.* of several runs in one pass. Leave it out of lora.targets"
    ):
        check_request(dataclasses.replace(RUN, lora=LoraSettings(targets=(target,))))
