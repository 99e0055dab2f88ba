"""Options of the worker: from its command line, else from the environment."""

import pytest

from tabtune_core.cli.main import main
from tabtune_core.execution import cores, service


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
    for flags, takes in (
        (["--threads", "9"], "--parallel 1 with --threads 9 takes 9"),
        (["--parallel", "9"], "takes 9"),
    ):
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
