"""Any input is answered with a sentence and exit status 2, never with a traceback."""

import argparse
import os
import subprocess
import sys
import types
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dashboard import start as dashboard
from dashboard.server import application as served
from tabtune_core.cli import main as cli
from tabtune_core.execution import lock, service, worker_flags

ADDRESSES = ["", "http://[::1", "[::1", "a..b", "http://a:99999", "http://a:b"]
NUMBERS = ["nan", "inf", "-1", "0", "1e999", "9" * 5000, "٣"]
PATHS = ["\udcff", "x" * 5000, "/dev/null/x", "//", "~nobody-here/x"]
ODD = st.one_of(
    st.sampled_from([*ADDRESSES, *NUMBERS]),
    st.sampled_from([*PATHS, "=", "a=", "a=1,a=2", "{}", "%s", "\n"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
POSITIONAL = {"data": "none.csv", "adapter": "none.zip", "out": "none.ckpt", "run": "none", "target": "y"}


def parsers():
    own = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", lambda self, *_: own.setdefault("dashboard", self))
        dashboard.parse([])
    (commands,) = (action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    return own | commands.choices


FLAGS = [
    (command, action.option_strings[-1] if action.option_strings else action.dest)
    for command, parser in parsers().items()
    for action in parser._actions
    if action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction)
]
OFTEN_WRONG = {"--port", "--address", "--allow-host", "--home"}
LISTED = [(command, flag) for command, flag in FLAGS if flag in OFTEN_WRONG]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("quiet")
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        for name in ("TABTUNE_HOME", "TABTUNE_WORKER"):
            patch.setenv(name, "")
        patch.setattr(sys, "argv", list(sys.argv))
        patch.setattr(served, "application", lambda access: types.SimpleNamespace(run=lambda config: None))
        patch.setattr(dashboard, "ensure_worker", lambda home, **more: None)
        patch.setattr(lock, "ensure_worker", lambda home, **more: None)
        patch.setattr(service, "run_worker", lambda home, **more: None)
        patch.setattr(worker_flags, "check", lambda address: None)
        yield folder


PROGRAMS = (
    lambda command, arguments: dashboard.main(["--no-browser", *arguments]) or 0,
    lambda command, arguments: cli.main([command, *arguments]),
)


def status_of(command, arguments):
    try:
        with mock.patch.dict(os.environ):  # the dashboard passes its options to its worker in them
            return PROGRAMS[command != "dashboard"](command, arguments)
    except SystemExit as ended:
        return ended.code


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flag=st.sampled_from(FLAGS) | st.sampled_from(LISTED), value=ODD)
@example(flag=("dashboard", "--port"), value="99999")
@example(flag=("dashboard", "--address"), value="a..b")
@example(flag=("dashboard", "--home"), value="~nobody-here/x")
@example(flag=("train", "data"), value="9" * 5000)
@example(flag=("train", "data"), value="http://[::1")
@example(flag=("resume", "runs"), value="\udcff")
def test_a_malformed_value_of_any_flag_is_refused_in_a_sentence(quiet, capsys, flag, value):
    command, name = flag
    needed = {positional: text for positional, text in POSITIONAL.items() if (command, positional) in FLAGS}
    flags = [f"{name}={value}"] if name.startswith("--") else []
    status = status_of(command, [*flags, "--", *(needed | ({} if flags else {name: value})).values()])
    error = capsys.readouterr().err
    assert status in (0, 1, 2)
    assert "Traceback" not in error
    assert status == 0 or len(error) > 20


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_command_works_with_any_stream_closed(tmp_path, closed):
    command = f"exec {sys.executable} -m tabtune_core runs --home {tmp_path} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (0, "")
