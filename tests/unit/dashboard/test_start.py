"""The program that serves the pages says at once, in a line, where it cannot."""

import sys

import pytest

from dashboard.__main__ import main
from dashboard.server import application as served


def test_a_workspace_that_cannot_be_used_is_a_line_and_exit_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setenv("TABTUNE_HOME", "")
    monkeypatch.setenv("TABTUNE_UPLOAD_LIMIT_MB", "")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path / "file"), "--no-browser"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tabtune-dashboard: The workspace {tmp_path / 'file'} cannot be opened")


def test_ctrl_c_after_an_orderly_end_is_an_exit_status_and_no_traceback(tmp_path, monkeypatch):
    class Interrupted:
        def run(self, config):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", list(sys.argv))
    for name in ("TABTUNE_HOME", "TABTUNE_UPLOAD_LIMIT_MB"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(served, "application", lambda access: Interrupted())
    monkeypatch.setattr("dashboard.__main__.ensure_worker", lambda home, **more: None)
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path), "--no-browser"])
    assert ended.value.code == 130
    assert ended.value.__suppress_context__
