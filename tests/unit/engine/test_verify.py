"""The verdict about an adapter package after a trial in another process."""

import os
import signal

import pytest

from tabtune_core.engine import verify
from tabtune_core.engine.preforked_process import FreshProcess


class Answers:
    """Stands in for the preforked process."""

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
        (
            (5e-3, 0),
            False,
            "on the CPU, because it could not be opened on the GPU, that differ",
        ),
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
