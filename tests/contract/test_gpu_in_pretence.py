"""Runs the tests marked gpu on a pretend GPU, so that they cannot go stale on machines without a real one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

TESTS = Path(__file__).parents[1]
TAKES_A_GPU = re.compile(r"mark\.gpu|def test_\w+\([^)]*\b(device|gpu)\b")
NEEDS_A_REAL_ONE = {"a pretend GPU has no such figures", "pretend GPUs have no driver of their own"}


@pytest.mark.parametrize("chosen", ["recomputed", pytest.param("", marks=pytest.mark.slow)])
def test_tests_marked_gpu_pass_on_a_pretend_gpu(tmp_path, chosen):
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        reason = "no C++ compiler, which builds the pretend GPU: install g++ or name one in the variable CXX"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    every = [path for path in sorted(TESTS.rglob("test_*.py")) if TAKES_A_GPU.search(path.read_text(encoding="utf-8"))]
    files = [TESTS / "gpu" / "test_fits.py"] if chosen else every
    report, path = tmp_path / "report.xml", [str(TESTS / "fakes" / "pretend_card"), *filter(None, sys.path)]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu", "-k", chosen]
    done = subprocess.run(
        [*command, f"--junitxml={report}", f"--basetemp={tmp_path / 'runs'}", *map(str, files)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = {skip.get("message") for case in cases for skip in case.iter("skipped")}
    ran = {Path(case.get("classname").replace(".", "/")).name for case in cases}
    assert skipped <= NEEDS_A_REAL_ONE and ran >= (
        {"test_fits"} if chosen else {"test_fits", "test_numbers", "test_runs"}
    )
