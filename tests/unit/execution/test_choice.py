"""Which executor a worker uses, and how the choice reaches it."""

import os

import pytest

from tabtune_core.cli.main import main
from tabtune_core.execution import service
from tabtune_core.execution.cluster_file import Cluster, read_cluster, write_cluster
from tabtune_core.execution.local import LocalExecutor
from tabtune_core.execution.worker_flags import tell_workers
from tabtune_core.store.runs import RunStore


@pytest.fixture
def asked(monkeypatch):
    """The executors that ``loralab worker`` would open; nothing is started."""
    found = []
    monkeypatch.setattr(service, "run_worker", lambda home, *, executor, **more: found.append(executor))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return found


def test_a_worker_uses_its_own_machine_by_default(tmp_path, asked):
    write_cluster(tmp_path, Cluster())
    assert main(["worker", "--home", str(tmp_path)]) == 0
    assert asked[0].func is LocalExecutor
    asked[0](RunStore(tmp_path), None, "fake_experiment")
    assert read_cluster(tmp_path) is None


def test_the_choice_given_to_the_pages_reaches_the_worker(tmp_path, asked):
    tell_workers(executor="ray", address="10.0.0.1:6379")
    assert main(["worker", "--home", str(tmp_path)]) == 0
    assert asked[0].args == ("10.0.0.1:6379",)


def test_the_command_line_overrides_the_environment(tmp_path, asked):
    tell_workers(executor="ray", address="a:1")
    assert main(["worker", "--home", str(tmp_path), "--address", "b:2"]) == 0
    assert asked[0].args == ("b:2",)
