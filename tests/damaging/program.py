"""Opens thousands of damaged files, measuring the time and memory of each; prints its findings as JSON by kind.

    python tests/damaging/program.py --count 200            # the number of files of each kind
    python tests/damaging/program.py --kind adapter --number 17   # one of them again, to look at

A kind and a number determine a file: it is the same on every machine.
"""

import argparse
import contextlib
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

SECONDS = 30
"""The limit for one file; most take a hundredth of a second."""
FREE_BYTES, TIMES_THE_FILE = 200_000_000, 10
"""The memory that opening a file may take."""


class TooLong(BaseException):
    """Raised when opening takes too long; a BaseException, so that no reader catches it."""


def alarm(*_):
    raise TooLong


def resident(name):
    """Resident bytes by the kernel's name: VmRSS, or VmHWM for the peak since ``forget_peak``."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def unprintable(letter):
    """Whether a character ends a line, controls a terminal, changes the writing direction or cannot be encoded."""
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def look(opened, path, refusal):
    """What is wrong with how a file is opened (None if nothing), and whether it was refused."""
    size, found, refused = path.stat().st_size, None, False
    forget_peak()
    before = resident("VmRSS")
    signal.alarm(SECONDS)
    try:
        opened(path)
    except refusal as error:
        refused = True
        if not str(error).strip() or len(str(error)) > 2_000 or any(map(unprintable, str(error))):
            found = f"no sentence in one line: {str(error)[:300]!r}"
    except TooLong:
        found = f"not done after {SECONDS} s"
    except BaseException as error:  # noqa: BLE001
        found = f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.alarm(0)
    taken = resident("VmHWM") - before
    if taken > TIMES_THE_FILE * size + FREE_BYTES and found is None:
        found = f"a file of {size / 1e6:.2f} MB took {taken / 1e6:.0f} MB"
    return found, refused


def try_files(kind, name, numbers, folder):
    """Opens the damaged files of a kind one by one."""
    from damaging.corpus import hashed
    from damaging.mutations import damage

    found, refused, began, slowest = [], 0, time.monotonic(), 0.0
    for number in numbers:
        rng = random.Random(f"{name} {number}")
        data = damage(rng.choice(kind.seeds), kind.form, rng, rng.choice(kind.seeds))
        path = folder / f"damaged-{name.replace(' ', '-')}.{kind.ending}"
        path.write_bytes(hashed(data) if name == "pipeline" else data)
        del data
        gc.collect() if number % 50 == 0 else None
        start = time.monotonic()
        wrong, was_refused = look(kind.open, path, kind.refusal)
        slowest, refused = max(slowest, time.monotonic() - start), refused + was_refused
        if wrong:
            found.append({"number": number, "found": wrong})
            print(f"{name} {number}: {wrong}", file=sys.stderr, flush=True)
    return {
        "files": len(numbers),
        "refused": refused,
        "found": found,
        "seconds": round(time.monotonic() - began, 1),
        "slowest": round(slowest, 2),
    }


def main():
    """Makes the files, damages and opens them, and prints the report."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--count", type=int, default=100, help="files of each kind (default: 100)")
    asked.add_argument("--kind", help="only this kind")
    asked.add_argument(
        "--first", type=int, default=0, help="number of the first file, to try others than before (default: 0)"
    )
    asked.add_argument("--number", type=int, help="only this file, which is left in the current folder")
    asked = asked.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGALRM, alarm)
    from damaging.corpus import kinds

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        made = kinds(Path(folder))
        chosen = {asked.kind: made[asked.kind]} if asked.kind else made
        for kind in chosen.values():  # twice, so that what is loaded once does not count for a file
            for seed in kind.seeds * 2:
                (Path(folder) / f"whole.{kind.ending}").write_bytes(seed)
                kind.open(Path(folder) / f"whole.{kind.ending}")
        numbers = range(asked.first, asked.first + asked.count) if asked.number is None else [asked.number]
        report = {
            name: try_files(kind, name, numbers, Path(folder) if asked.number is None else Path.cwd())
            for name, kind in chosen.items()
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
