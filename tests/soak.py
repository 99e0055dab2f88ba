"""A soak test: the real server, worker, runs and browser for hours, with accidents. Runs only by name.

    python tests/soak.py --hours 2 --seed 7 --report soak.jsonl
    python tests/soak.py --hours 2 --rounds 40 --actions kill_worker kill_child kill_forkserver freeze    # signals, and
    no page open

Each round draws actions from the seed (launches, pages, uploads, downloads, stops, deletions, kills), waits until
nothing is running, and checks that nothing is lost, stuck, left over or growing. A failure is recorded and the soak
continues; the exit status is then 1.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(name, value)
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from soaking import report  # noqa: E402
from soaking.actions import ACTIONS  # noqa: E402
from soaking.browsing import Chromium  # noqa: E402
from soaking.lab import Lab  # noqa: E402
from soaking.rounds import Round, carry_out  # noqa: E402


def parse() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, required=True, help="no round starts after these hours")
    parser.add_argument("--rounds", type=int, default=10**9, help="most rounds (default: as many as fit)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same actions (default: 0)")
    parser.add_argument(
        "--actions",
        nargs="+",
        choices=sorted(ACTIONS),
        help="only these, besides launching sweeps (default: all); actions without a page need no browser",
    )
    parser.add_argument(
        "--home", type=Path, help="folder for the workspace and logs, kept afterwards (default: a temporary one)"
    )
    parser.add_argument("--report", type=Path, help="file that gets one line of JSON per round")
    return parser.parse_args()


def main() -> int:
    """Runs rounds until the time is up and returns the exit status."""
    asked = parse()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # background jobs of a shell ignore SIGINT, and so would the server
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = (asked.home or Path(tempfile.mkdtemp(prefix="soak-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    deadline, told = time.monotonic() + 3600 * asked.hours, []
    with Lab(folder) as lab:
        needs_browser = any(ACTIONS[name][1].__module__ == Chromium.__module__ for name in asked.actions or ACTIONS)
        round_ = Round(lab, Chromium() if needs_browser else None)
        try:
            while time.monotonic() < deadline and len(told) < asked.rounds:
                told.append(carry_out(round_, asked.seed, len(told), asked.actions))
                print(report.line(told[-1]), flush=True)
                if asked.report:
                    with asked.report.open("a") as lines:
                        lines.write(json.dumps(told[-1]) + "\n")
        except KeyboardInterrupt:
            print("Ended early; the unfinished round is left out.")
        finally:
            text, failures = report.summary(told, round_.outcomes) if told else ("No round ended.", 1)
            print(text, flush=True)
            if round_.chromium is not None:
                round_.chromium.close()
    if asked.home is None and not failures:
        shutil.rmtree(folder)
    else:
        print(f"The workspace and the logs are in {folder}.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
