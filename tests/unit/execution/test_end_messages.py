"""The end of a sweep is sent once to the given address and to nobody else; an address that does not answer does no
harm.
"""

import http.server
import json
import logging
import threading

import pytest
from worker_program import queue, start_worker

from tabtune_core.errors import SettingError
from tabtune_core.execution.end_messages import EndMessages
from tabtune_core.store.run_row import Sweep
from tabtune_core.store.runs import RunStore


@pytest.fixture
def chat():
    """An address, and the messages sent to it."""
    told = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(
                (self.headers["Content-Type"], json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, *parts):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", told
        server.shutdown()
        thread.join()


def sweep(name, **counts):
    return Sweep(name, f"sweep {name}", 0.0, counts)


def test_the_end_of_a_sweep_seen_running_is_announced_once(chat):
    address, told = chat
    messages = EndMessages(address)
    messages.look([sweep("a", running=1, queued=1), sweep("old", finished=3), sweep("b", running=1)])
    messages.look([sweep("a", finished=1, running=1), sweep("old", finished=3), sweep("b", running=1)])
    for _ in range(2):
        messages.look([sweep("a", finished=1, failed=1), sweep("old", finished=3), sweep("b", running=1)])
    messages.finish()
    ((kind, content),) = told
    assert (kind, content["sweep"], content["counts"]) == ("application/json", "a", {"finished": 1, "failed": 1})
    assert content["text"] == "LoRA Lab: sweep a has ended: 1 finished, 1 failed."


def test_an_address_that_does_not_answer_is_one_line_in_the_log(caplog):
    messages = EndMessages("http://127.0.0.1:9/secret-part")
    with caplog.at_level(logging.WARNING):
        messages.look([sweep("a", running=1)])
        messages.look([sweep("a", finished=1)])
        messages.finish()
    (line,) = caplog.messages
    assert "The end of sweep a could not be told to 127.0.0.1" in line
    assert "secret-part" not in line


@pytest.mark.parametrize("address", ["chat.example/hook", "file:///etc/passwd", "http://", "ftp://a.example"])
def test_an_invalid_address_is_refused_at_the_start(address):
    with pytest.raises(SettingError, match="must begin with http:// or https://"):
        EndMessages(address)


def test_the_worker_notifies_the_given_address(chat, tmp_path):
    address, told = chat
    store = RunStore(tmp_path)
    queue(store, "steady")
    assert start_worker(store.home, "exit-when-idle", f"notify={address}").wait(timeout=60) == 0
    (tell,) = [content for _, content in told]
    assert (tell["runs"], tell["sweep"]) == (1, store.sweeps()[0].id)


def test_a_sweep_whose_last_run_was_lost_between_two_workers_is_announced(chat, tmp_path):
    address, told = chat
    store = RunStore(tmp_path)
    (run_id,) = queue(store, "quick")
    store.claim(4_000_000, None, executor="local")
    assert start_worker(store.home, "exit-when-idle", "no-resume", f"notify={address}").wait(timeout=60) == 0
    assert [content["counts"] for _, content in told] == [{"interrupted": 1}]
