"""``doctor``: what a run needs of this machine, one line each."""

import argparse
import json
from dataclasses import asdict

from tabtune_core.execution.doctor import examine, report


def diagnose(asked: argparse.Namespace) -> int:
    """Prints the checks; 1 where one found what keeps runs from working."""
    checks = examine(asked.home, online=asked.online)
    print(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False) if asked.format == "json" else report(checks))
    return int(any(check.state == "problem" for check in checks))
