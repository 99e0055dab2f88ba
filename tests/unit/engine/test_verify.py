"""The verdict about a package after a trial in another process; that process; and scores that are too good."""

import multiprocessing
import os
import signal
import socket
import struct
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from tabtune_core.data.table import read_table
from tabtune_core.data.task import prepare
from tabtune_core.engine import verify
from tabtune_core.engine.preforked_process import FreshProcess
from tabtune_core.engine.references import too_good
from tabtune_core.settings import RunSettings
from tabtune_core.training.reference_models import fit_reference


class Answers:
    def __init__(self, answer):
        self.answer, self.asked = answer, None

    def call(self, function, /, **named):
        self.asked = (function, named)
        return self.answer


@pytest.mark.parametrize(
    ("answer", "good", "said"),
    [
        ((1e-7, 0), True, "gave the run's test predictions in a fresh process up to a difference of 1.0e-07"),
        ((1e-3, 0), False, "gave predictions in a fresh process that differ by up to 1.0e-03"),
        ((1e-7, 1), False, "gave predictions in a fresh process that differ"),
        (None, None, "could not be opened in a fresh process"),
    ],
)
def test_the_preforked_process_decides_whether_a_package_is_offered(tmp_path, answer, good, said):
    fresh = Answers(answer)
    offered, sentence = verify.verify_in_fresh_process(
        tmp_path, home=tmp_path, device="cpu", checkpoint="x.ckpt", fresh=fresh
    )
    assert (offered, said in sentence) == (good, True)
    assert fresh.asked == (
        verify.largest_difference,
        {"run_dir": tmp_path, "home": tmp_path, "device": "cpu", "checkpoint": "x.ckpt"},
    )


def test_a_new_interpreter_decides_if_the_preforked_process_was_killed(tmp_path, monkeypatch):
    fresh = FreshProcess()
    fresh._process.kill()
    monkeypatch.setattr(verify, "largest_difference", within)
    offered, sentence = verify.verify_in_fresh_process(
        tmp_path, home=tmp_path, device="cpu", checkpoint=None, fresh=fresh
    )
    assert offered
    assert "gave the run's test predictions in a fresh process" in sentence


def within(**asked):
    return 1e-7, 0


def is_killed(**asked):
    os.kill(os.getpid(), signal.SIGKILL)


def fails(**asked):
    raise ValueError


@pytest.mark.parametrize("happens", [is_killed, fails])
def test_a_package_that_cannot_be_opened_is_reported_with_what_to_do(tmp_path, monkeypatch, capfd, happens):
    monkeypatch.setattr(verify, "largest_difference", happens)
    offered, sentence = verify.verify_in_fresh_process(tmp_path, home=tmp_path, device="cpu", checkpoint=None)
    assert offered is None and "not offered. Most often memory ran out: end other programs, and verify" in sentence
    assert ("Traceback" in capfd.readouterr().err) == (happens is fails)


@pytest.mark.parametrize(
    ("on_cpu", "good", "said"),
    [
        ((5e-4, 1), True, "on the CPU, because it could not be opened on the GPU, up to"),
        ((5e-3, 0), False, "on the CPU, because it could not be opened on the GPU, that differ"),
        (None, None, "could not be opened in a fresh process"),
    ],
)
def test_a_package_that_does_not_open_on_a_full_gpu_is_tried_on_the_cpu(tmp_path, monkeypatch, on_cpu, good, said):
    monkeypatch.setattr(verify, "_in_new_interpreter", lambda asked: {"cpu": on_cpu}.get(asked["device"]))
    offered, sentence = verify.verify_in_fresh_process(tmp_path, home=tmp_path, device="cuda:0", checkpoint=None)
    assert (offered, said in sentence) == (good, True)


@pytest.mark.parametrize(("answer", "good"), [((5e-6, 0), True), ((5e-5, 0), False)])
def test_a_package_is_tried_on_the_runs_gpu(tmp_path, answer, good):
    fresh = Answers(answer)
    offered, _ = verify.verify_in_fresh_process(tmp_path, home=tmp_path, device="cuda:1", checkpoint=None, fresh=fresh)
    assert (offered, fresh.asked[1]["device"]) == (good, "cuda:1")


STATE = []
"""State of a process; a preforked process sees no later change."""


def seen(more):
    return [*STATE, more], os.getpid()


def gives_up():
    os._exit(3)


def stays(pipe):
    """Forks a process, sends its id, and is killed."""
    FreshProcess()
    pipe.send([child.pid for child in psutil.Process().children()])
    time.sleep(60)


def test_it_sees_only_the_state_at_the_time_of_its_fork():
    STATE[:] = ["before"]
    fresh = FreshProcess()
    STATE.append("later")
    answer, pid = fresh.call(seen, more="asked")
    assert answer == ["before", "asked"]
    assert pid != os.getpid()


def test_it_has_no_answer_when_the_function_ends_it_or_fails():
    assert FreshProcess().call(gives_up) is None
    assert FreshProcess().call(seen, unknown=1) is None


def test_it_has_no_answer_when_it_was_killed_while_answering():
    fresh, (ours, theirs) = FreshProcess(), multiprocessing.Pipe()
    fresh._pipe.close()
    fresh._pipe = ours
    os.write(theirs.fileno(), struct.pack("!i", 100) + b"half an answer")
    with socket.socket(fileno=os.dup(theirs.fileno())) as end:
        end.shutdown(socket.SHUT_WR)
    assert fresh.call(seen, more="asked") is None


@pytest.mark.parametrize("kill", ["kill", "terminate"])
def test_it_ends_with_the_process_that_forked_it(kill):
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe()
    maker = context.Process(target=stays, args=(writer,))
    maker.start()
    (aside,) = reader.recv()
    assert psutil.pid_exists(aside)
    getattr(maker, kill)()
    maker.join()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(aside) and psutil.Process(aside).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


DRAW = np.random.default_rng(0)
HONEST = pd.DataFrame(
    {"size": DRAW.normal(size=400).round(6), "weight": DRAW.normal(size=400).round(6), "self": ["no", "yes"] * 200}
)
SIDE = np.where(np.arange(400) % 4 < 2, 3, -3)


@pytest.mark.parametrize(
    ("frame", "score", "said"),
    [
        (HONEST, 0.9, None),
        (HONEST.assign(paid=HONEST["self"].eq("yes") * SIDE + HONEST["size"] / 9), 1.0, "'paid'"),
        (pd.concat([HONEST[:80]] * 5), 1.0, "are copies of training rows"),
    ],
    ids=["honest", "a leak", "copies"],
)
def test_a_nearly_perfect_score_names_its_probable_cause(frame, score, said):
    table, run = (
        read_table(frame.to_csv(index=False).encode()),
        RunSettings(dataset="d", target="self", strategy="boosting"),
    )
    prepared = prepare(table.frame, table.columns, run, max_classes=None)
    context = prepared.context
    fitted = fit_reference("boosting", context.x_CF, context.y_C, categories=0, classes=2, seed=0)
    told = too_good(prepared, context, run, fitted.predict, {"balanced_accuracy": score})
    assert (told is None) if said is None else said in told
