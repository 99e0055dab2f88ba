"""How many runs the worker does at once: from its command line, else from the environment."""

import pytest

from tabtune_core.cli.main import main
from tabtune_core.execution import cores, service


@pytest.fixture
def shares(tmp_path, monkeypatch):
    """What a worker is started with on a machine of eight cores, by its flags and the environment."""
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


def test_flags_go_before_the_environment_and_that_before_what_is_usual(shares):
    assert shares() == (2, 4)
    assert shares(TABTUNE_PARALLEL="", TABTUNE_THREADS="") == (2, 4)
    assert shares(TABTUNE_PARALLEL="8") == (8, 1)
    assert shares(TABTUNE_PARALLEL="8", TABTUNE_THREADS="2") == (8, 2)
    assert shares("--parallel", "1", "--threads", "3", TABTUNE_PARALLEL="8", TABTUNE_THREADS="2") == (1, 3)
    assert shares("--parallel", "100", TABTUNE_THREADS="") == (100, 1)


@pytest.mark.parametrize("flag", ["--parallel", "--threads"])
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "", "9" * 5000])
def test_what_is_no_number_of_runs_is_refused_in_a_sentence(shares, capsys, flag, number):
    with pytest.raises(SystemExit) as ended:
        shares(flag, number)
    assert ended.value.code == 2
    assert f"argument {flag}: " in (last := capsys.readouterr().err.splitlines()[-1])
    assert "is no whole number of at least 1. Write for example 2." in last


def test_a_wrong_number_in_the_environment_is_refused_too(shares, capsys):
    with pytest.raises(SystemExit):
        shares(TABTUNE_PARALLEL="0")
    assert "argument --parallel: '0' is no whole number of at least 1." in capsys.readouterr().err


def test_a_workspace_that_is_a_file_is_refused_in_a_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["worker", "--exit-when-idle", "--home", str(tmp_path / "file")]) == 2
    assert f"loralab: The workspace {tmp_path / 'file'} cannot be opened" in capsys.readouterr().err


def test_more_threads_than_cores_end_the_command_with_a_sentence(shares, tmp_path, capsys):
    assert main(["worker", "--home", str(tmp_path), "--threads", "9"]) == 2
    assert "loralab: --threads is 9, and a run here can have 8 cores. Ask for 8 or fewer." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("TABTUNE_PARALLEL", "abc", "'abc' is no whole number of at least 1."),
        ("TABTUNE_THREADS", "0", "'0' is no whole number of at least 1."),
        ("TABTUNE_EXECUTOR", "slurm", "There is no executor 'slurm'"),
        ("TABTUNE_GPU_SHARE", "half", "It is no number."),
        ("TABTUNE_GPU_SHARE", "7", "a run is given at most one GPU"),
        ("TABTUNE_JOB_MINUTES", "soon", "no number above 0"),
        ("TABTUNE_NOTIFY", "me", "must begin with http:// or https://"),
    ],
)
def test_a_variable_that_no_worker_accepts_is_named_before_anything_is_queued(tmp_path, monkeypatch, capsys, name, text, why):
    monkeypatch.setenv(name, text)
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,x\n")
    assert main(["train", str(table), "--home", str(tmp_path / "home")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"loralab: The environment variable {name} is {text!r}, which no worker accepts. ")
    assert why in said
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("text", "resumes"), [("", True), ("0", True), ("1", False)])
def test_no_resume_in_the_environment_is_1_or_nothing(tmp_path, monkeypatch, text, resumes):
    given = []
    monkeypatch.setattr(service, "run_worker", lambda home, **more: given.append(more["resume"]))
    monkeypatch.setenv("TABTUNE_NO_RESUME", text)
    assert main(["worker", "--home", str(tmp_path)]) == 0
    assert given == [resumes]
