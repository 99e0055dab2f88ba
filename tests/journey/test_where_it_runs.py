"""The pages in Jupyter, in a container, from a notebook, and on a server that others can reach."""

import ast
import importlib
import os
import shlex
import subprocess
import sys
import tomllib
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from urllib.error import URLError

import httpx
import nbformat
import pytest
from websockets.sync.client import connect
from worker_program import free_port

from dashboard.server import jupyter
from tabtune_core.cli.main import _parser, main

ROOT = Path(__file__).parents[2]


def test_jupyter_starts_the_dashboard_below_its_own_address(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["entry-points"]["jupyter_serverproxy_servers"]
    assert named == {"lora-lab": f"{jupyter.__name__}:{jupyter.server.__name__}"}
    config = tmp_path / "jupyter_server_config.py"
    as_the_entry_point = "from dashboard.server.jupyter import server\nc.ServerProxy.servers = {'lora-lab': server()}\n"
    config.write_text(as_the_entry_point)
    home = tmp_path / "workspace"
    port = free_port()
    environment = {**os.environ, "HOME": str(tmp_path), "TABTUNE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jupyter", "server", f"--config={config}", f"--port={port}", "--no-browser"]
    command += ["--ServerApp.base_url=/user/ann/", "--IdentityProvider.token=secret", "--allow-root"]
    with ExitStack() as stack:
        log = stack.enter_context((tmp_path / "jupyter.log").open("wb"))
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        stack.callback(main, ["worker", "--stop", f"--home={home}"])
        stack.callback(server.wait, timeout=30)
        stack.callback(server.terminate)
        below = f"127.0.0.1:{port}/user/ann/lora-lab"
        assert answer(f"http://{below}/_stcore/health?token=secret", server) == b"ok"
        assert b"<title>" in answer(f"http://{below}/live?token=secret", server)
        how = {"origin": f"http://127.0.0.1:{port}", "additional_headers": {"Authorization": "token secret"}}
        with connect(f"ws://{below}/_stcore/stream", subprotocols=["streamlit"], **how):
            pass


def answer(address, process):
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as reply:
                return reply.read()
        except URLError as error:
            assert process.poll() is None and isinstance(error.reason, ConnectionError), error


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ([], "-m dashboard --address 0.0.0.0 --port 8501 --no-browser"),
        (["--home", "/a b/"], "-m dashboard --address 0.0.0.0 --port 8501 --no-browser --home /a b/"),
        (["sweep", "a b.csv", "--target", "y"], "-m tabtune_core sweep a b.csv --target y"),
    ],
)
def test_a_container_serves_the_pages_or_runs_a_command(words, runs, tmp_path):
    stub = tmp_path / "python"
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run([ROOT / ".docker" / "start", *words], env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip()) == (0, runs)


def test_the_notebook_for_colab_is_valid_and_its_commands_are_known():
    notebook = nbformat.read(ROOT / "docs" / "examples" / "colab.ipynb", as_version=4)
    nbformat.validate(notebook)
    lines = [line for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    commands = [shlex.split(line.removeprefix("!loralab ")) for line in lines if line.startswith("!loralab ")]
    assert [words[0] for words in commands] == ["doctor", "sweep", "predict"]
    for words in commands:
        _parser().parse_args(words)
    python = ast.parse("\n".join(line for line in lines if not line.startswith(("!", "%"))))
    for one in ast.walk(python):
        if isinstance(one, ast.ImportFrom) and one.module.startswith("tabtune_core"):
            assert {alias.name for alias in one.names} <= set(dir(importlib.import_module(one.module)))


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "YWFhYWFhYWFhYWFhYWFhYQ==",
}


def websocket_status(client):
    """The status of a WebSocket handshake; its body is not awaited, since the connection stays open."""
    with client.stream("GET", "/_stcore/stream", headers=HANDSHAKE) as reply:
        return reply.status_code


def test_a_server_that_others_can_reach_opens_with_the_address_that_it_prints(serve, tmp_path):
    base = serve("--address", "0.0.0.0")
    stranger = httpx.Client(base_url=base, timeout=20)
    assert stranger.get("/").status_code == 401
    assert stranger.put("/_stcore/upload_file/session/file").status_code == 403
    assert websocket_status(stranger) == 403

    log = (tmp_path / "server.log").read_text()
    printed = next(word for word in log.split() if word.startswith(f"{base}/?token="))
    person = httpx.Client(base_url=base, timeout=20, follow_redirects=True)
    assert person.get(printed).status_code == 200
    assert "Streamlit" in person.get("/").text
    assert websocket_status(person) == 101
    assert person.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert (tmp_path / "server.log").read_text().count("token=") == 2  # the two addresses, without a log of requests


def test_a_server_of_this_machine_answers_only_by_its_own_names(serve):
    base = serve()
    port = base.rpartition(":")[2]
    for host, status in ((f"localhost:{port}", 200), (f"[::1]:{port}", 200), (f"evil.example:{port}", 400)):
        with httpx.Client(base_url=base, headers={"Host": host}, timeout=20) as client:
            assert client.get("/").status_code == status
            assert (websocket_status(client) == 101) == (status == 200)
