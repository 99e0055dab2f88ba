"""An adapter is uploaded to a hub and loaded by its address; the hub is a small local server, the client the real one."""

import base64
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest
from made_run import made_run, mixed_csv

from tabtune_core import load_adapter
from tabtune_core.cli.main import main
from tabtune_core.data.datasets import load_frame
from tabtune_core.errors import AdapterError
from tabtune_core.lora.hub import read_public
from tabtune_core.lora.package_reader import read_facts
from tabtune_core.lora.standalone import load_lora_adapter


class Hub(BaseHTTPRequestHandler):
    """Answers huggingface_hub's requests to make a repository, commit small files and download them."""

    repos: ClassVar = {}

    def log_message(self, *_):
        pass

    def answer(self, status=200, content=b"{}", **headers):
        self.send_response(status)
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        for name, value in {"content_length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self):
        return self.rfile.read(int(self.headers["content-length"]))

    def do_POST(self):
        if self.path == "/api/repos/create":
            asked = json.loads(self.body())
            name = f"{asked['organization']}/{asked['name']}"
            there = name in self.repos
            private = asked.get("private", False) or asked.get("visibility") == "private"
            self.repos.setdefault(name, {"private": private, "files": {}})
            self.answer(409 if there else 200, {"url": f"{self.server.address}/{name}"})
        elif self.path.endswith("/preupload/main"):
            files = json.loads(self.body())["files"]
            how = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer(content={"files": [{"path": file["path"], **how} for file in files]})
        elif "/commit/" in self.path:
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, self.body().splitlines()):
                if line["key"] == "file":
                    self.repos[name]["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(content={"commitUrl": f"{self.server.address}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40})
        else:  # validate-yaml
            self.body()
            self.answer(content={"errors": [], "warnings": []})

    def do_GET(self):
        if self.path.startswith("/api/models/"):
            name = "/".join(self.path.split("/")[3:5])
            if name in self.repos:
                about = {"id": name, "private": self.repos[name]["private"], "sha": "1" * 40}
                self.answer(content={**about, "siblings": [], "tags": []})
                return
        owner, repo, _, _, *path = self.path.lstrip("/").split("/")
        found = self.repos.get(f"{owner}/{repo}")
        content = found and found["files"].get("/".join(path))
        hidden = found is None or (found["private"] and "Authorization" not in self.headers)
        if content is None or hidden:
            code = "RepoNotFound" if hidden else "EntryNotFound"
            self.answer(401 if hidden else 404, X_Error_Code=code, X_Repo_Commit="1" * 40)
        else:
            self.answer(content=content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit="1" * 40)

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    cache = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": False, "ENDPOINT": server.address}
    for name, value in cache.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    for room in ("file_download", "constants"):  # before 1.0, the first copies it on import
        monkeypatch.setattr(f"huggingface_hub.{room}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setattr(Hub, "repos", {})
    yield server
    server.shutdown()
    server.server_close()


def test_a_run_is_uploaded_with_its_model_card_and_predicts_by_its_address(store, hub, capsys, tmp_path, monkeypatch):
    run = made_run(store, data=mixed_csv(400))
    assert main(["hub", "push", run, "ann/mine", "--home", str(store.home)]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == f"{hub.address}/ann/mine"
    assert "The class labels, which are values of the table, are left out" in told.err
    assert Hub.repos["ann/mine"]["private"]
    files = Hub.repos["ann/mine"]["files"]
    assert sorted(files) == ["README.md", "adapter.zip"]
    card = files["README.md"].decode()
    for line in ("pipeline_tag: tabular-classification", "license: apache-2.0", 'load_adapter("hf://ann/mine")'):
        assert line in card
    assert "| log-loss | test | 0.5000 |" in card
    assert not any(word in card for word in ("keep it", "drop it", "remark number"))

    there, here = (load_adapter(path, device="cpu") for path in ("hf://ann/mine", store.run_dir(run) / "adapter.zip"))
    frame = load_frame(store.home, store.run(run).settings.dataset)
    predicted = [model.predict_proba(frame[:5], context=model.context(frame)) for model in (there, here)]
    np.testing.assert_array_equal(*predicted)
    assert load_lora_adapter("hf://ann/mine").model == "tabicl-mini"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    home = ["--home", str(store.home)]
    assert main(["predict", "hf://ann/mine", str(tmp_path / "rows.csv"), "--device", "cpu", *home]) == 0
    assert capsys.readouterr().out.startswith("predicted,prob_drop it,prob_keep it\n")
    package = str(store.run_dir(run) / "adapter.zip")
    assert main(["hub", "push", package, "ann/labelled", "--public", "--with-labels"]) == 0
    labelled = Hub.repos["ann/labelled"]
    assert (b"keep it" in labelled["files"]["README.md"], labelled["private"]) == (True, False)
    assert read_public("hf://ann/labelled") == labelled["files"]["adapter.zip"]
    for hidden in ("hf://ann/mine", str(tmp_path / "rows.csv")):  # from the log-in and from the machine
        with pytest.raises(AdapterError, match=r"hf://ann/mine: |Write hf://owner/name"):
            read_public(hidden)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with ThreadPoolExecutor(1) as other:  # before 1.0, each thread keeps a session
        assert other.submit(load_lora_adapter, "hf://ann/labelled").result().model == "tabicl-mini"
        with pytest.raises(AdapterError, match="offline mode is enabled"):  # the cache is that of the log-in
            other.submit(read_public, "hf://ann/labelled").result()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert main(["hub", "push", run, "ann/labelled", "--home", str(store.home)]) == 2
    assert "exists and is public. Add --public" in capsys.readouterr().err


def test_hub_errors_are_one_sentence(hub, monkeypatch):
    Hub.repos |= {
        "ann/empty": {"private": True, "files": {}},
        "ann/other": {"private": True, "files": {"adapter.zip": b"PK no adapter"}},
    }
    for address, told in {
        "hf://ann/none": "Repository Not Found .* a private repository needs",
        "hf://ann/empty": "Entry Not Found",
        "hf://ann/other": "adapter.zip is not an adapter package",
    }.items():
        with pytest.raises(AdapterError, match=told):
            read_facts(address)
    monkeypatch.setattr("tabtune_core.lora.hub.LIMIT_BYTES", 5)
    with pytest.raises(AdapterError, match=r"has 0 MB; an adapter may have 0\."):
        read_facts("hf://ann/other")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    # before 1.0, each thread keeps a session
    with ThreadPoolExecutor(1) as other, pytest.raises(AdapterError, match="in the local cache"):
        other.submit(read_facts, "hf://ann/new").result()
