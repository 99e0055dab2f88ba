"""The settings file of the command line and the options of the worker: read, or refused in a sentence."""

import pytest
import tomli_w

from tabtune_core.cli.arguments import given
from tabtune_core.cli.main import _parser, main
from tabtune_core.cli.request import read_settings_file, settle_target
from tabtune_core.data.datasets import add_dataset
from tabtune_core.errors import SettingError
from tabtune_core.execution import cores, service
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.settings.serialization import read_toml
from tabtune_core.store.runs import RunStore

REFUSED = {
    "a section of text": ('run = "text"', "'run' is 'text'; it must be a section of settings"),
    "a number of 5,000 digits": ("seeds = [" + "9" * 5000 + "]", "cannot be read as TOML: Exceeds the limit"),
    "nested lists": ("ranks = " + "[" * 5000, "nested too deep"),
    "invalid TOML": ("ranks = = 1", "cannot be read as TOML: .*line 1"),
    "not text": (b"\xff\xfe\x00", "not text in UTF-8"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_settings_that_cannot_be_read_are_refused_in_one_line(tmp_path, what):
    content, message = REFUSED[what]
    path = tmp_path / "x.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingError, match=message) as refused:
        read_settings_file(path, SweepSettings)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_flag_overrides_the_setting_that_replaces_it_in_the_file():
    train = TrainSettings(steps=7, warmup_steps=2)
    file = SweepSettings(
        run=RunSettings(dataset="d", target="y", train=train), alphas=(4, 8), full_learning_rates=(1e-4,)
    )
    text = read_toml(file.to_toml(), SweepSettings)

    def asked(*flags):
        return SweepSettings.from_toml(tomli_w.dumps(given(_parser().parse_args(["sweep", "t.csv", *flags]), text)))

    sweep = asked("--epochs", "3", "--set", "alpha=5", "--set", "warmup_ratio=0.5", "--learning-rate", "0.001")
    assert (sweep.run.train.steps, sweep.run.train.epochs, sweep.run.train.warmup_steps) == (None, 3, None)
    assert {run.lora.alpha for run in sweep.expand() if run.strategy == "peft"} == {5}
    assert sweep.full_learning_rates == (1e-4,), "the flag sets the rate of LoRA only"
    assert asked("--epochs", "3", "--steps", "5").run.train.steps == 5
    assert asked("--set", "lora.alpha=5", "--alphas", "2", "3").alphas == (2, 3)
    assert asked() == file


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--device", "cuda:77"], "The device 'cuda:77' was requested, but this machine has"),
        (["--set", "checkpoint=/nowhere/weights.ckpt"], "There is no checkpoint at /nowhere/weights.ckpt"),
        (["--leave-out", "b"], "--leave-out names 'b', which is the column to predict"),
        (["--set", "group_rare_classes=1000"], "is 'other' in every row: nothing to learn. Group fewer of"),
        ([], "no columns of numbers, dates or categories"),
    ],
    ids=["device", "weights", "target", "rare classes", "columns"],
)
def test_a_problem_that_stops_a_sweep_is_reported_once_before_anything_is_queued(tmp_path, capsys, flags, told):
    cells = ("1", "2") if flags else ("note {} of somebody, at length", "{} more words of another, at length")
    lines = [f"{cells[i % 2].format(i)};{'xy'[i % 2]}" for i in range(60)]
    (tmp_path / "x.csv").write_text("\n".join(["a;b", *lines]))
    home = tmp_path / "home"
    assert main(["sweep", str(tmp_path / "x.csv"), "--target", "b", "--home", str(home), *flags]) == 2
    said = capsys.readouterr().err
    assert said.count(told) == 1
    assert said.splitlines()[-1].startswith("loralab: ")
    assert RunStore(home).runs() == []


@pytest.mark.parametrize("flag", ["--target", "--targets"])
def test_an_empty_value_is_refused_and_not_taken_as_left_out(tmp_path, capsys, flag):
    (tmp_path / "x.csv").write_text("a,b\n" + "1,x\n2,y\n" * 30)
    flags = ("--home", str(tmp_path / "home"), "--target", "b", flag, "")
    assert main(["train", str(tmp_path / "x.csv"), *flags]) == 2
    assert ("target is empty" if flag == "--target" else "No linear layer under ''") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "settled"),
    [
        ({}, ("status", "group", "age")),
        ({"target": "status"}, ("status", "group", "age")),
        ({"target": "status", "split_by": "random"}, ("status", "random", None)),
        ({"target": "diagnosis"}, ("diagnosis", None, None)),
    ],
)
def test_target_and_split_of_the_last_run_are_used_and_announced(store, capsys, asked, settled):
    lines = "".join(f"{'ab'[i % 2]},{'xy'[i // 2 % 2]},{20 + i % 40}\n" for i in range(60))
    dataset = add_dataset(store.home, f"status,diagnosis,age\n{lines}".encode(), "patients.csv")
    store.add_sweep([RunSettings(dataset=dataset.id, target="status", split_by="group", split_column="age")], "earlier")
    run = dict(asked)
    settle_target(store, dataset, run)
    assert (run["target"], run.get("split_by"), run.get("split_column")) == settled
    said = capsys.readouterr().err
    assert ("target: 'status', as in the last run on this table; --target for another" in said) == (not asked)
    assert ("split by group: age, as in the last run on this table" in said) == (
        asked.get("split_by") is None and settled[1] == "group"
    )


@pytest.fixture
def shares(tmp_path, monkeypatch):
    """Returns runs at once and threads each that a worker with these flags and this environment uses on eight cores."""
    given = []
    monkeypatch.setattr(cores, "_cores", lambda: tuple(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "core_quota", lambda: None)
    monkeypatch.setattr(service, "run_worker", lambda home, **more: given.append(more["executor"].keywords["shares"]))

    def started(*flags, **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert main(["worker", "--home", str(tmp_path), *flags]) == 0
        return given[-1].parallel, given[-1].threads

    return started


def test_flags_override_the_environment_which_overrides_the_defaults(shares):
    assert shares() == (2, 4)
    assert shares(TABTUNE_WORKER="") == (2, 4)
    assert shares(TABTUNE_WORKER="--parallel 8") == (8, 1)
    assert shares(TABTUNE_WORKER="--parallel 3 --threads=2") == (3, 2)
    assert shares("--parallel", "1", "--threads", "3", TABTUNE_WORKER="--parallel 3 --threads=2") == (1, 3)


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "", "9" * 5000])
def test_an_invalid_number_of_runs_is_refused_in_a_sentence(shares, capsys, number):
    with pytest.raises(SystemExit) as ended:
        shares("--parallel", number)
    assert ended.value.code == 2
    usage, *_, last = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: loralab worker ")
    assert "argument --parallel: " in last and "is not a whole number from 1 to 1,000,000." in last


def test_more_threads_than_cores_end_the_command_with_a_sentence(shares, tmp_path, capsys):
    for flags, takes in ((["--threads", "9"], "with --threads 9 takes 9"), (["--parallel", "9"], "takes 9")):
        assert main(["worker", "--home", str(tmp_path), *flags]) == 2
        assert f"{takes} cores, and runs here can have 8. Lower one of them." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("--parallel abc", "'abc' is not a whole number from 1 to 1,000,000."),
        ("--executor slurm", "invalid choice: 'slurm'"),
        ("--executor 'local", "It cannot be split into flags"),
        ("--home /tmp", "unrecognized arguments: --home /tmp"),
    ],
)
def test_an_invalid_variable_is_named_before_anything_is_queued(tmp_path, monkeypatch, capsys, text, why):
    monkeypatch.setenv("TABTUNE_WORKER", text)
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,x\n")
    assert main(["train", str(table), "--home", str(tmp_path / "home")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("loralab: The environment variable TABTUNE_WORKER is ")
    assert why in said
    assert not (tmp_path / "home").exists()
