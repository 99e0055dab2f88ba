"""Commands that list, show and read: what they print, what they refuse, and that a closed pipe causes no traceback."""

import dataclasses
import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_run import made_run, write_small_package
from random_sweeps import BASE

from tabtune_core.cli import launch
from tabtune_core.cli.arguments import answer_flags, given
from tabtune_core.cli.main import _parser, main
from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.findings import Question
from tabtune_core.events import Note, to_json
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.runs import RunStore

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path):
    """Two sweeps; in the older one, a run has written a note and failed."""
    store = RunStore(tmp_path / "home")
    _, (first, _) = store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in (0, 1)], "older")
    store.add_sweep([RunSettings(dataset="d", target="y", strategy="inference")], "newer")
    store.append(first, Note("The rank is capped."))
    store.finish(first, "failed", error="No such device.")
    return store


def printed(capsys, store, *arguments):
    """Runs a command that must succeed; returns what it prints."""
    assert main([*arguments, "--home", str(store.home)]) == 0
    return capsys.readouterr().out


def test_runs_are_listed_newest_sweep_first_as_text_and_as_json(store, capsys):
    lines = printed(capsys, store, "runs").splitlines()
    rows = json.loads(printed(capsys, store, "runs", "--format", "json"))
    assert [row["name"] for row in rows] == ["Zero-shot", "LoRA r=8 seed 0", "LoRA r=8 seed 1"]
    assert [line.split()[0] for line in lines] == [row["run"] for row in rows]
    assert [row["status"] for row in rows] == ["queued", "failed", "queued"]
    older = json.loads(printed(capsys, store, "runs", "--format", "json", rows[1]["sweep"]))
    assert older == rows[1:]


def test_a_run_is_shown_with_its_settings_its_notes_and_why_it_failed(store, capsys):
    failed = next(run for run in store.runs() if run.error)
    shown = json.loads(printed(capsys, store, "show", failed.id))
    assert RunSettings.from_dict(shown["settings"]) == failed.settings
    assert [shown["error"], *shown["notes"]] == ["No such device.", {"text": "The rank is capped.", "severity": "info"}]


def test_the_place_of_a_run_is_shown(store, capsys):
    sweep, (placed,) = store.add_sweep([RunSettings(dataset="d", target="y")], "placed")
    store.claim(1, None, placed, slot="cuda:1", node="mill")
    assert printed(capsys, store, "runs", sweep).rstrip().endswith("on mill cuda:1")
    (row,) = json.loads(printed(capsys, store, "runs", "--format", "json", sweep))
    assert (row["node"], row["slot"]) == ("mill", "cuda:1")


@pytest.mark.parametrize("command", ["leaderboard", "runs", "show 1", "resume", "export html"])
def test_a_mistyped_home_is_not_created(command, tmp_path, capsys):
    assert main([*command.split(), "--home", str(tmp_path / "hom")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert not (tmp_path / "hom").exists()


def test_a_reader_that_closes_the_pipe_early_causes_no_traceback(store):
    store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in range(900)], "more than a pipe holds")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tabtune_core", "runs", "--format", "json", "--home", str(store.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stdout.readline() == b"[\n"
        running.stdout.close()
        said = running.stderr.read()
        assert running.wait(timeout=60) == 141
    assert said == b""


def test_values_are_listed_with_spaces_and_modules_with_plus():
    words = ["sweep", "t.csv", "--ranks", "2", "4", "--target-sets", "a+b", "default"]
    assert given(_parser().parse_args(words), {}) == {"ranks": [2, 4], "target_sets": [("a", "b"), ()]}


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--rnaks", "2"], "unrecognized arguments: --rnaks 2"),
        (["--ranks", "many"], "argument --ranks: invalid int value: 'many'"),
        (["--rows", "0"], "argument --rows: '0' is not a whole number from"),
        (["--skip-last", "-3"], "argument --skip-last: '-3' is not a whole number from"),
        (["--set", "optimiser=sgd"], "argument --set: there is no setting 'optimiser'. Did you mean 'train."),
        (["--set", "use_dora=maybe"], "argument --set: use_dora: 'maybe' is not a value of it"),
    ],
)
def test_an_impossible_flag_is_refused_with_the_usage_of_its_command(flags, why, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "t.csv", *flags])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("usage: loralab sweep DATA --target COLUMN") and why in said


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """A small table; commands queue their runs, but do not follow them."""
    monkeypatch.setattr(launch, "_follow_to_the_board", lambda *asked: 130)
    table = tmp_path / "table.csv"
    table.write_text("a,b,c d,y\n" + "".join(f"{i % 7},{i % 5},{i},{'no' if i % 3 else 'yes'}\n" for i in range(80)))
    return table


def test_no_model_sees_columns_that_are_left_out(tmp_path, launched, capsys):
    home = tmp_path / "home"
    status = main(["train", str(launched), "--target", "y", "--leave-out", "a", "c d", "--home", str(home)])
    assert status == 130, capsys.readouterr().err
    (run,) = RunStore(home).runs()
    kinds = {column.name: column.kind for column in get_dataset(home, run.settings.dataset).columns}
    assert kinds == {"a": "ignored", "b": "number", "c d": "ignored", "y": "boolean"}


def test_commas_and_points_in_a_column_are_read_as_asked_and_an_unknown_column_is_refused(tmp_path, launched, capsys):
    table, home = tmp_path / "prices.csv", tmp_path / "home"
    table.write_text("price;y\n" + "".join(f"1,500;{'no' if i % 3 else 'yes'}\n{i + 1},500;no\n" for i in range(40)))
    asked = ["train", str(table), "--target", "y", "--home", str(home), "--thousands-comma"]
    assert main([*asked, "prise"]) == 2
    assert "Did you mean 'price'?" in " ".join(capsys.readouterr().err.split())
    assert main([*asked, "price", "--decimal-comma", "price"]) == 2
    assert "both name 'price'" in capsys.readouterr().err
    assert main([*asked, "price"]) == 130, capsys.readouterr().err
    (run,) = RunStore(home).runs()
    assert load_frame(home, run.settings.dataset)["price"].iloc[0] == 1500


@pytest.mark.parametrize("mark", ["--", "-x y"])
def test_a_mark_for_missing_can_be_typed_as_the_command_line_advises(tmp_path, launched, capsys, mark):
    table, home = tmp_path / "watch.csv", tmp_path / "home"
    table.write_text("pulse,y\n" + "".join(f"{mark if i % 4 else i},{'no' if i % 3 else 'yes'}\n" for i in range(40)))
    asked = ["train", str(table), "--target", "y", "--home", str(home)]
    flag, *words = shlex.split(answer_flags(Question("missing_marks", "", (mark,))))
    assert main([*asked, flag, *words]) == 130, capsys.readouterr().err
    (run,) = RunStore(home).runs()
    assert load_frame(home, run.settings.dataset)["pulse"].isna().sum() == 30


def test_a_sweep_is_exported_to_a_page_or_tracker_and_an_unknown_one_is_refused(store, capsys, tmp_path):
    older = store.sweeps()[1].id
    file = tmp_path / "page.html"
    assert printed(capsys, store, "export", f"html:{file}", older).strip() == str(file)
    assert "<h1>older</h1>" in file.read_text()
    assert f"--logdir '{tmp_path / 'tb'}'" in printed(capsys, store, "export", f"tensorboard:{tmp_path / 'tb'}", older)
    for place in (tmp_path, tmp_path / "no" / "page.html"):
        assert main(["export", f"html:{place}", "--home", str(store.home)]) == 2
        assert "cannot be read or written: " in capsys.readouterr().err
    assert main(["export", "mlfow", "--home", str(store.home)]) == 2
    assert "Did you mean 'mlflow'?" in capsys.readouterr().err


def test_a_leaderboard_is_not_ranked_by_a_score_of_another_task(store, capsys):
    assert main(["leaderboard", "--rank-by", "rmse", "--home", str(store.home)]) == 2
    assert "--rank-by is 'rmse'; for classification it must be one of" in " ".join(capsys.readouterr().err.split())


def test_adapters_with_long_or_equal_names_are_all_copied(tmp_path):
    store = RunStore(tmp_path / "home")
    runs = store.runs(store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in (0, 1, 1)])[0])
    result = dataclasses.replace(BASE, adapter_bytes=7, adapter_verified=True)
    for run, name in zip(runs, ("r" * 300, "same seed 1", "same"), strict=True):
        store.rename(run.id, name)
        store.finish(run.id, "finished", result=result)
        (folder := store.run_dir(run.id)).mkdir(parents=True)
        (folder / ADAPTER_FILE).write_text(name)
    (other := tmp_path / "same-seed1.zip.partial").write_text("of a sweep that ends now")
    launch._copy_adapters(store, store.runs(), tmp_path)
    assert other.read_text() == "of a sweep that ends now"
    copied = {path.name: path.read_text() for path in tmp_path.glob("*.zip")}
    assert copied == {
        "r" * 200 + "-seed0.zip": "r" * 300,
        "same-seed1.zip": "same seed 1",
        "same-seed1 (2).zip": "same",
    }
    (store.run_dir(runs[1].id) / ADAPTER_FILE).write_text("another")  # as of another sweep
    launch._copy_adapters(store, store.runs(), tmp_path)
    now = {path.name: path.read_text() for path in tmp_path.glob("*.zip")}
    assert now == copied | {"same-seed1.zip": "another", "same-seed1 (earlier 1).zip": "same seed 1"}


def test_an_adapter_folder_that_cannot_be_made_is_refused_before_anything_trains(tmp_path, launched, capsys):
    (tmp_path / "file").touch()
    flags = ("--target", "y", "--adapters", str(tmp_path / "file"), "--home", str(tmp_path / "home"))
    assert main(["train", str(launched), *flags]) == 2
    assert f"'{tmp_path / 'file'}' cannot be read or written: File exists." in capsys.readouterr().err
    assert RunStore(tmp_path / "home").runs() == []


def test_the_leaderboard_is_shown_even_if_adapters_cannot_be_copied(tmp_path, monkeypatch, capsys):
    def full(*given, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.zip")

    monkeypatch.setattr(launch, "_follow_or_cancel", lambda *given: ([], False))
    monkeypatch.setattr(launch, "_copy_adapters", full)
    monkeypatch.setattr(launch, "show_board", lambda *given: print("the board") or 0)
    asked = SimpleNamespace(adapters=tmp_path, format="csv")
    with pytest.raises(OSError, match=r"a\.zip"):
        launch._follow_to_the_board(None, "s", [], asked)
    assert capsys.readouterr().out == "the board\n"


def test_cancelled_runs_are_resumed_and_their_adapters_copied(tmp_path, monkeypatch, capsys):
    store = RunStore(tmp_path)
    sweep, (run_id,) = store.add_sweep([RunSettings(dataset="d", target="y")])
    store.finish(run_id, "cancelled")
    monkeypatch.setattr(launch, "_follow_or_cancel", lambda *given: (store.runs(sweep), True))
    copied = []
    monkeypatch.setattr(launch, "_copy_adapters", lambda *given: copied.append(given[-1]))
    folder = tmp_path / "the adapters"
    flags = ["--home", str(tmp_path), "--adapters", str(folder)]
    assert main(["resume", *flags]) == 130
    assert (folder.is_dir(), copied) == (True, [folder])
    command = capsys.readouterr().err.partition("To start the cancelled runs again: loralab ")[2]
    assert shlex.split(command) == ["resume", sweep, *flags]


def test_an_adapter_whose_verification_was_killed_is_verified_again_untrained_and_copied(tmp_path, monkeypatch, capsys):
    store = RunStore(tmp_path / "home")
    run = store.run(made_run(store))
    result = dataclasses.replace(run.result, adapter_verified=None)
    store._write("UPDATE runs SET result = ? WHERE id = ?", (to_json(result)[1], run.id))
    monkeypatch.setattr(launch, "_follow_or_cancel", lambda store, *given: (store.runs(), False))
    asked, before = ["resume", "--home", str(store.home), "--adapters", str(tmp_path / "adapters")], store.marks()
    assert main(asked) == 0
    assert "The adapter package gave the run's test predictions in a fresh process" in capsys.readouterr().err
    assert (store.run(run.id).result, store.marks() != before) == (run.result, True)
    assert main(asked) == 0, "nothing is left to resume: the adapters are copied"
    assert [file.suffix for file in (tmp_path / "adapters").iterdir()] == [".zip"]


@pytest.mark.parametrize(("status", "expected"), [("failed", 1), ("finished", 0)])
def test_a_sweep_where_only_a_reference_finished_has_failed(tmp_path, capsys, status, expected):
    store = RunStore(tmp_path)
    runs = [RunSettings(dataset="d", target="y", strategy=strategy) for strategy in ("inference", "linear")]
    _, (model, reference) = store.add_sweep(runs)
    store.finish(model, status, error="No such device." if expected else None, result=None if expected else BASE)
    store.finish(reference, "finished", result=BASE)
    assert main(["leaderboard", "--home", str(tmp_path)]) == expected
    assert "Linear model" in capsys.readouterr().out


def test_merging_does_not_overwrite_its_inputs(tmp_path, capsys):
    package = write_small_package(tmp_path) / "adapter.zip"
    content = package.read_bytes()
    weights = ("--checkpoint", str(tmp_path / "w.ckpt"))
    for out, *more in ((package,), (tmp_path / "w.ckpt", *weights), (tmp_path, *weights)):
        (tmp_path / "w.ckpt").write_bytes(b"mine")
        assert main(["merge", str(package), str(out), *more]) == 2
        assert "is one of the files to merge, or their folder, and would be overwritten" in capsys.readouterr().err
    assert (package.read_bytes(), (tmp_path / "w.ckpt").read_bytes()) == (content, b"mine")


@pytest.mark.parametrize("verified", [False, None])
def test_an_adapter_that_was_not_verified_neither_predicts_nor_is_merged_or_pushed(tmp_path, capsys, verified):
    store = RunStore(tmp_path / "home")
    run = made_run(store)
    result = dataclasses.replace(store.run(run).result, adapter_verified=verified)
    store._write("UPDATE runs SET result = ? WHERE id = ?", (to_json(result)[1], run))
    assert (store.run_dir(run) / ADAPTER_FILE).exists()
    for command in (["predict", run, "rows.csv"], ["merge", run, str(tmp_path / "out")], ["hub", "push", run, "a/b"]):
        assert main([*command, "--home", str(store.home)]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"The run {run} has no adapter that a fresh process has verified." in said
    assert not (tmp_path / "out").exists()
