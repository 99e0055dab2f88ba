"""The command line as a program: its output and exit status."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import seeding
import torch
from tiny import tiny_checkpoint
from worker_program import wait_until

from tabtune_core.cli import launch
from tabtune_core.cli.main import main
from tabtune_core.data.datasets import add_dataset, list_datasets
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.engine.adapted_model import load_adapter
from tabtune_core.execution.lock import WorkerLock, worker_of
from tabtune_core.lora.inject import merged_copy
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import RunSettings, SweepSettings
from tabtune_core.store.runs import RunStore

ROOT = Path(__file__).parents[2]
SMALL = ("--steps", "2", "--set", "eval_every=1", "--context-rows", "40", "--batch-size", "20", "--device", "cpu")
RACED = ("--steps", "12", *SMALL[2:])
HEAR_CTRL_C = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
"""Background jobs of a shell ignore SIGINT, and their children inherit that."""


def command(home, *arguments):
    environment = {**os.environ, "TABTUNE_HOME": str(home), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    return {
        "args": [sys.executable, "-m", "tabtune_core", *map(str, arguments)],
        "env": environment,
        "cwd": home.parent,
        "text": True,
    }


def tabtune(home, *arguments):
    return subprocess.run(**command(home, *arguments), capture_output=True, timeout=300)


@pytest.fixture
def tabtune_here(monkeypatch, capsys):
    """Runs the command line in this process, without a worker; returns its exit status and output."""
    monkeypatch.setattr(launch, "ensure_worker", lambda *home, **more: None)

    def run(home, *arguments):
        monkeypatch.setenv("TABTUNE_HOME", str(home))
        with pytest.raises(SystemExit) as end:
            sys.exit(main([str(argument) for argument in arguments]))
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "home"
    yield folder
    wait_until(lambda: not worker_of(folder))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)).round(4), columns=["a", "b", "scale"])
    frame["class"] = np.where(frame["a"] + frame["b"] > 0, "up", "down")
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def swept(home, table):
    adapters = home.parent / "adapters"
    few = ("--ranks", 2, "--one-rate", *SMALL)
    return tabtune(
        home, "sweep", table, "--target", "class", *few, "--format", "json", "--adapters", adapters
    ), adapters


@pytest.fixture(scope="module")
def worker(swept, home):
    """A worker that stays, with torch loaded, after the sweep's worker has ended."""
    wait_until(lambda: not worker_of(home))
    with subprocess.Popen(**command(home, "worker"), stderr=subprocess.DEVNULL) as worker:
        yield worker
        worker.terminate()


def test_a_sweep_prints_its_leaderboard_on_stdout_and_copies_adapters_with_rank_and_seed_in_their_names(swept):
    done, adapters = swept
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert "6 runs: 1 rank + 2 baselines + 3 references" in done.stderr
    references = ["Constant", "Gradient boosting", "Linear model"]
    assert sorted(row["name"] for row in rows) == sorted([*references, "Full fine-tuning", "LoRA r=2", "Zero-shot"])
    assert [row["status"] for row in rows] == ["finished"] * 6
    assert [row["validation_log_loss"] for row in rows] == sorted(row["validation_log_loss"] for row in rows)
    for row in (row for row in rows if row["name"] in references[1:]):
        assert (row["model"], row["place"] >= 1) == ("scikit-learn", True)
        columns = ("gain", "best_step", "trainable_percent", "adapter_bytes", "note")
        assert [row[column] for column in columns] == [None] * 4 + [""]
    assert "LoRA r=2: finished" in done.stderr
    assert [path.name for path in adapters.iterdir()] == ["lora-r2-seed0.zip"]


def test_by_default_each_rank_keeps_its_best_rate_and_the_others_stop_at_rungs(home, table, swept):
    few = ("--ranks", 4, 2, "--no-full-fine-tuning", "--no-zero-shot", "--no-references", *RACED)
    done = tabtune(home, "sweep", table, "--target", "class", *few)
    assert done.returncode == 0, done.stderr
    assert "6 runs: 2 ranks x 3 learning rates" in done.stderr
    runs = RunStore(home).runs(RunStore(home).sweeps()[0].id)
    ended = [run.status for run in sorted(runs, key=lambda run: run.settings.label) if run.rung >= 0]
    assert [ended[place : place + 3].count("outrun") for place in (0, 3)] == [2, 2]
    assert set(ended) == {"finished", "outrun"}
    assert {run.device for run in runs} == {"CPU"}, "also of those that stopped at a rung"
    names = [run.settings.label for run in sorted(runs, key=lambda run: run.started or 0)]
    assert names.index("LoRA r=2") < names.index("LoRA r=4")
    assert "stopped at rung 1 of 2: another learning rate was better" in done.stdout
    assert "stopped at rung 2 of 2" in done.stderr


def test_an_adapter_reproduces_the_predictions_of_its_run(swept, home, table, tmp_path, tabtune_here):
    _, adapters = swept
    (run,) = [run for run in RunStore(home).runs() if run.name.endswith("LoRA r=2")]
    saved = pd.read_parquet(RunStore(home).run_dir(run.id) / "predictions.parquet").query("split == 'test'")
    pd.read_csv(table).drop(columns="class").iloc[saved["row"]].to_csv(tmp_path / "rows.csv", index=False)
    status, printed, _ = tabtune_here(
        home, "predict", adapters / "lora-r2-seed0.zip", tmp_path / "rows.csv", "--device", "cpu"
    )
    predicted = pd.read_csv(io.StringIO(printed))
    assert (status, list(predicted)) == (0, ["predicted", "prob_down", "prob_up"])
    assert predicted["predicted"].tolist() == saved["predicted"].tolist()
    np.testing.assert_allclose(predicted["prob_up"], saved["prob_1"], atol=1e-6)
    predict = ("predict", adapters / "lora-r2-seed0.zip", tmp_path / "rows.csv", "--device", "cpu")
    elsewhere = (tmp_path / "empty", *predict)
    assert tabtune_here(*elsewhere, "--context", table)[1] == printed
    status, _, err = tabtune_here(*elsewhere)
    assert (status, "--context FILE" in err) == (2, True)


def test_an_adapter_is_merged_into_a_checkpoint_that_a_run_can_start_from(swept, home, table, tmp_path, tabtune_here):
    status, _, said = tabtune_here(
        home, "merge", swept[1] / "lora-r2-seed0.zip", tmp_path / "merged.ckpt", "--device", "cpu"
    )
    assert (status, "merged.ckpt" in said) == (0, True)
    merged = load_model(
        CATALOGUE["tabicl-mini"], "classification", torch.device("cpu"), tmp_path / "merged.ckpt"
    ).module.state_dict()
    adapted = load_adapter(swept[1] / "lora-r2-seed0.zip", device="cpu").model.module
    torch.testing.assert_close(merged, merged_copy(adapted).state_dict(), atol=0, rtol=0)


def test_only_the_table_format_ends_with_what_rank_buys(tmp_path, tabtune_here):
    seeding.finished_sweep(RunStore(tmp_path), seeds=(0, 1))
    _, printed, _ = tabtune_here(tmp_path, "leaderboard", "--rank-by", "accuracy")
    board, said = printed.split("\n\n")
    assert board.startswith("Accuracy")
    assert said.startswith("Validation chooses r=4 at one rate: its accuracy there is 0.9585, zero-shot has 0.9300.\n")
    assert max(map(len, said.splitlines())) <= 120
    _, printed, _ = tabtune_here(tmp_path, "leaderboard", "--format", "csv")
    assert not re.search("Validation chooses|standard", printed)
    _, printed, _ = tabtune_here(tmp_path, "leaderboard", "--format", "json")
    assert len(json.loads(printed)) == 10


def test_a_continuous_target_is_announced_and_predicted_as_a_number(worker, home, table, tabtune_here):
    weights = tiny_checkpoint(home.parent / "tiny.ckpt", "tabicl-v2", task="regression")
    (home.parent / "run.toml").write_text('target = "scale"\n[lora]\nrank = 2\n')
    asked = ("--settings", home.parent / "run.toml", "--seed", 3, "--model", "tabicl-v2", "--checkpoint", weights)
    done = tabtune(home, "train", table, *asked, *SMALL, "--adapters", home.parent / "numbers")
    assert done.returncode == 0, done.stderr
    assert (
        "regression: 'scale' holds numbers on a scale; --task classification or --set split_at_median=true for classes"
        in done.stderr
    )
    assert done.stdout.startswith("RMSE (unit of the target, lower is better)")
    assert {run.settings.task for run in RunStore(home).runs(RunStore(home).sweeps()[0].id)} == {"regression"}
    with zipfile.ZipFile(home.parent / "numbers" / "lora-r2-seed3.zip") as package:
        assert "predict_proba" not in package.read("README.md").decode()
    _, printed, _ = tabtune_here(home, "leaderboard", "--format", "csv")
    assert {"test_rmse", "test_mae", "test_r2", "test_gain"} <= set(printed.splitlines()[0].split(","))


def test_if_every_run_fails_the_status_is_1_and_the_reason_is_printed(worker, home, table):
    (home / "broken.ckpt").write_bytes(b"PK, and no weights")
    done = tabtune(home, "train", table, "--target", "class", "--checkpoint", home / "broken.ckpt", *SMALL)
    assert done.returncode == 1
    assert "it is not a zip that can be opened" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_ctrl_c_cancels_the_sweep_prints_the_board_of_ended_runs_and_says_how_to_resume(worker, home, table):
    before = {run.id for run in RunStore(home).runs()}
    few = ("--ranks", 2, 4, "--no-full-fine-tuning", "--no-references", *SMALL, "--steps", 100_000)
    asked = ("sweep", table, "--target", "class", *few, "--set", "patience=100000")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(**command(home, *asked), **pipes, preexec_fn=HEAR_CTRL_C)
    store = RunStore(home)
    wait_until(lambda: any(store.last(run.id, "StepDone") for run in store.runs(status="running")))
    wait_until(lambda: any(run.id not in before for run in store.runs(status="finished")))  # two may run at once
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Zero-shot" in out, "the board of the ended runs"
    assert "Cancelled" in err and "Traceback" not in err
    assert f"loralab resume {store.sweeps()[0].id}" in err
    own = {run.settings.strategy: run.status for run in store.runs() if run.id not in before}
    assert own == {"inference": "finished", "peft": "cancelled"}


@pytest.mark.slow
def test_two_programs_that_search_in_one_workspace_never_ask_twice_and_lose_no_try(worker, home, table):
    before = {sweep.id for sweep in RunStore(home).sweeps()}
    asked = ("sweep", table, "--target", "class", "--minutes", 1, "--no-references", *RACED)
    both = [subprocess.Popen(**command(home, *asked), stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    store, tries = RunStore(home), []
    for sweep in {sweep.id for sweep in store.sweeps()} - before:
        own = [run for run in store.runs(sweep) if run.rung >= 0]
        assert [run.name.rpartition(" ")[2] for run in own] == [str(number + 1) for number in range(len(own))]
        assert {run.status for run in own} <= {"finished", "outrun"}
        tries += own
    assert len(tries) > 3
    assert len({run.settings for run in tries}) == len(tries) - 1  # both begin with the defaults


def test_interrupted_runs_are_resumed_and_followed_to_their_end(tmp_path, tabtune_here, monkeypatch):
    store = RunStore(tmp_path)
    sweep, (first, second) = store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in (0, 1)])
    for run_id in (first, second):
        store.finish(run_id, "interrupted", error="Killed.")
    _, (apart,) = store.add_sweep([RunSettings(dataset="d", target="y")])
    monkeypatch.setattr(launch, "follow", lambda store, sweep, **_: store.runs(sweep))
    _, _, err = tabtune_here(tmp_path, "resume", sweep)
    assert err.count("starts anew; it had saved no state") == 2
    assert [(run.status, run.resumptions) for run in store.runs(sweep)] == [("queued", 1), ("queued", 1)]
    assert store.run(apart).resumptions == 0
    store.claim(1, None, first)
    _, _, err = tabtune_here(tmp_path, "resume", sweep)
    assert err.count("without a worker; a new one takes it over") == 2
    assert [run.status for run in store.runs(sweep)] == ["running", "queued"]
    lock = WorkerLock(tmp_path)
    assert lock.take()
    code, _, err = tabtune_here(tmp_path, "resume", sweep)
    lock.release()
    assert (code, "there is nothing to resume. Not ended yet: 2 runs; see" in err) == (2, True)


REFUSED = {
    "": "required: COMMAND",
    "sweep {drift}": "Name the column to predict with --target. 'y' is a usual name for the column to predict.",
    "sweep {table} --target clas": "no column 'clas'. Did you mean 'class'?",
    "sweep {table} --target scale --model tabicl-v1": "regression: 'scale' holds numbers on a scale; --task",
    "sweep {table} --target scale --task classification": "setting split_at_median=true",
    "sweep {table} --target class --set time_limit=0": "train.time_limit is 0.0; it must be above 0. It is in seconds",
    "sweep {table} --target class --settings missing.toml": "'missing.toml' cannot be read as TOML",
    "sweep {table} --target class --settings {unknown}": "Did you mean 'ranks'?",
    "sweep {binary} --target class": "loralab: ",
    "train {table} --target class --strategy qlora": "invalid choice: 'qlora'",
    "train {table} --target class --split-by time --split-column scal": "Did you mean 'scale'?",
    "sweep {drift} --target y --split-by time --split-column day": "without a training row, and 20 test rows",
    "predict {table} {table}": "is not an adapter package",
    "merge missing.zip out.ckpt": "There is no adapter package at missing.zip",
    "sweep {table} --target class --model mitra-mini --set predict_context_rows=10001": "at most 10,000 context rows.",
    "leaderboard --home {table}": "cannot be opened",
}


@pytest.mark.parametrize("asked", REFUSED)
def test_impossible_requests_are_refused_with_a_reason(swept, home, table, tmp_path, tabtune_here, asked):
    (tmp_path / "unknown.toml").write_text("rank = [2]\n")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)) * 20)
    drift = pd.DataFrame({"day": range(100), "a": np.arange(100) % 7, "y": ["x", "y"] * 40 + ["new"] * 20})
    drift.to_csv(tmp_path / "drift.csv", index=False)
    files = {name.partition(".")[0]: tmp_path / name for name in ("drift.csv", "unknown.toml", "binary.csv")}
    before = len(RunStore(home).runs())
    status, out, err = tabtune_here(home, *asked.format(table=table, **files).split())
    assert (status, out) == (2, "")
    assert REFUSED[asked] in " ".join(err.split())
    assert len(RunStore(home).runs()) == before


DAYS = "day;amount;bought\n" + "".join(
    f"0{i % 9 + 1}/0{i % 7 + 1}/2024;{i if i % 20 else 'lost'};{'yn'[i % 2]}\n" for i in range(60)
)


def test_a_question_names_the_flags_that_answer_it_and_is_not_asked_again(tmp_path, tabtune_here):
    (tmp_path / "days.csv").write_text(DAYS)
    status, _, err = tabtune_here(tmp_path / "home", "sweep", tmp_path / "days.csv")
    assert status == 2
    assert "--day-first or --month-first" in err and "--missing lost" in err
    flags = ("--month-first", "--missing", "lost", "--delimiter", ";", "--encoding", "utf-8", "--header")
    status, _, err = tabtune_here(tmp_path / "home", "sweep", tmp_path / "days.csv", *flags)
    assert (status, "question" in err) == (2, False)
    reading = list_datasets(tmp_path / "home")[0].reading
    assert (reading.day_first, reading.missing_marks, reading.delimiter) == (False, ("lost",), ";")


def test_a_table_of_the_workspace_keeps_its_reading_choices(tmp_path, tabtune_here, monkeypatch):
    """The same bytes without the choices would be another table."""
    home = tmp_path / "home"
    dataset = add_dataset(home, DAYS.encode(), "days.csv", ReadingChoices(day_first=False, missing_marks=("lost",)))
    queued = []
    monkeypatch.setattr(launch, "follow", lambda store, sweep, **_: queued.extend(store.runs(sweep)) or queued)
    (tmp_path / "sweep.toml").write_text(SweepSettings(run=RunSettings(dataset=dataset.id, target="bought")).to_toml())
    monkeypatch.chdir(tmp_path)
    tabtune_here(home, "sweep", dataset.id, "--settings", "sweep.toml")
    assert {run.settings.dataset for run in queued} == {dataset.id}
    assert [found.id for found in list_datasets(home)] == [dataset.id]


def test_every_axis_of_a_sweep_has_a_flag_and_run_names_are_unique(tmp_path, tabtune_here, monkeypatch):
    dataset = add_dataset(tmp_path / "home", DAYS.encode(), "days.csv")
    monkeypatch.setattr(launch, "follow", lambda store, sweep, **_: store.runs(sweep))
    axes = "--ranks 4 8 --alphas 8 16 --dropouts 0 0.1 --target-sets default row_attention+prediction_head"
    rates = "--learning-rates 1e-4 --full-learning-rates 1e-5 2e-5 --seeds 0 1"
    asked = ("sweep", dataset.id, "--target", "bought", *axes.split(), *rates.split())
    said = tabtune_here(tmp_path / "home", *asked)[2]
    runs = RunStore(tmp_path / "home").runs()
    assert (
        f"{len(runs)} runs: 2 ranks x 2 alphas x 2 dropouts x 2 sets of target modules + zero-shot + 2 rates of full "
        "fine-tuning + 3 references, x 2 seeds" in said
    )
    assert len({run.name for run in runs}) == len(runs) == 2 * (2**4 + 6)
    lora = [run for run in runs if run.settings.strategy == "peft"]
    assert {run.settings.lora.targets for run in lora} == {(), ("row_attention", "prediction_head")}
    assert lora[-1].name == "LoRA r=8, alpha 16, dropout 0.1, targets row_attention+prediction_head seed 1"


def test_ctrl_c_while_a_table_is_read_ends_cleanly_and_leaves_nothing(tmp_path):
    home = tmp_path / "home"
    (tmp_path / "long.csv").write_bytes(b"a,b,y\n" + b"1,2,k\n3,4,l\n" * 2_400_000)
    started = command(home, "train", tmp_path / "long.csv", "--target", "y")
    reading = subprocess.Popen(**started, stderr=subprocess.PIPE, preexec_fn=HEAR_CTRL_C)
    try:
        wait_until(lambda: list(home.glob("datasets/incoming-*/tabtune-*/cells.duckdb")))
        reading.send_signal(signal.SIGINT)
        said = reading.communicate(timeout=120)[1]
    finally:
        reading.kill()
    assert reading.returncode == 130, said
    assert "Traceback" not in said
    assert not list((home / "datasets").iterdir())


def test_a_run_that_cannot_fit_in_memory_starts_only_with_the_flag(tmp_path, table, tabtune_here, monkeypatch):
    monkeypatch.setattr("tabtune_core.analysis.launch_checks.machine_memory", lambda: (3 * 10**8, 4 * 10**8))
    monkeypatch.setattr(launch, "_follow_to_the_board", lambda *asked: 130)
    asked = ("train", table, "--target", "class", "--device", "cpu")
    status, out, err = tabtune_here(tmp_path, *asked)
    assert (status, out) == (2, "")
    *_, line = err.splitlines()
    assert re.fullmatch(
        r"loralab: This needs about 0\.\d GB of memory, as estimated; the CPU has 0\.4 GB in all\. Lower .* \(now "
        r".*\)\."
        r" Nothing was started; --even-if-it-does-not-fit starts it anyway\.",
        line,
    )
    assert RunStore(tmp_path).runs() == []
    assert tabtune_here(tmp_path, *asked, "--even-if-it-does-not-fit")[0] == 130
    assert [run.status for run in RunStore(tmp_path).runs()] == ["queued"]
