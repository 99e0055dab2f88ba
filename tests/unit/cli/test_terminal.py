"""While a person waits at the terminal there is a worker, of this version, unless the person has stopped it."""

import pytest

from tabtune_core.cli import terminal
from tabtune_core.errors import StoreError
from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution.lock import Holder, stop_workers


@pytest.fixture
def started(monkeypatch):
    """Workers that were started, in a world where a look is due at once."""
    started = []
    monkeypatch.setattr(terminal, "WORKER_SECONDS", 0.0)
    monkeypatch.setattr(terminal, "ensure_worker", lambda home, **more: started.append(home))
    monkeypatch.setattr(worker_lock, "code_version", lambda: "this")
    return started


def there_is(monkeypatch, worker):
    monkeypatch.setattr(terminal, "worker_of", lambda home: worker)


def test_one_of_another_version_is_said_and_replaced_once(tmp_path, monkeypatch, started, capsys):
    there_is(monkeypatch, Holder(7, "1 boot pid:[1]", "other"))
    care = terminal._WorkerCare(tmp_path)
    for _ in range(3):
        care.look()
    assert started == [tmp_path]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "The worker (process 7) is of another version, other; one of this version takes over from it."


def test_one_of_this_version_is_left_alone(tmp_path, monkeypatch, started, capsys):
    there_is(monkeypatch, Holder(7, "1 boot pid:[1]", "this"))
    terminal._WorkerCare(tmp_path).look()
    assert started == []
    assert capsys.readouterr().err == ""


def test_one_that_cannot_stay_up_is_not_started_for_ever(tmp_path, monkeypatch, started):
    there_is(monkeypatch, None)
    care = terminal._WorkerCare(tmp_path)
    for _ in range(terminal.WORKER_STARTS):
        care.look()
    with pytest.raises(StoreError, match="was started 3 times and ended each time"):
        care.look()
    assert started == [tmp_path] * terminal.WORKER_STARTS


def test_whoever_starts_runs_wants_a_worker_and_whoever_stops_it_meanwhile_does_not(tmp_path, monkeypatch, started):
    there_is(monkeypatch, None)
    stop_workers(tmp_path)
    care = terminal._WorkerCare(tmp_path)
    care.look()
    assert started == [tmp_path]
    with pytest.raises(StoreError, match="was stopped with 'tabtune worker --stop'"):
        care.look()


def test_why_nothing_starts_is_said_once_each_time(tmp_path, monkeypatch, started, capsys):
    there_is(monkeypatch, Holder(7, "1 boot pid:[1]", "this"))
    care = terminal._WorkerCare(tmp_path)
    for why in ("The disk is full.", "The disk is full.", None, "The disk is full."):
        monkeypatch.setattr(terminal, "why_nothing_starts", lambda home, why=why: why)
        care.look()
    assert capsys.readouterr().err.splitlines() == ["The disk is full. What is queued waits, and goes on by itself."] * 2
