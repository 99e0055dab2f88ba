"""How does the loss on tables that pre-training never saw fall over time?

``python tests/benchmarks/pretraining_curve.py FOLDER/tabicl-mini.json`` prints Markdown and, with ``--picture
FILE.html``, draws it. Several trainings are compared by CPU hours. ``python -m tabtune_core.models.pretraining`` writes
the file.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
import plotly.express as px
from published import markdown_table


def curve(paths: list[Path]) -> pd.DataFrame:
    """One row per training and evaluation: training, hours, step, tables, rows, and the loss on each list of held-out
    tables.
    """
    looks = []
    for path in paths:
        for look in json.loads(path.read_text())["history"]:
            lists = {
                f"{name}, {task}": loss for task, losses in look["held_out"].items() for name, loss in losses.items()
            }
            looks.append(
                {"training": str(path), **{name: look[name] for name in ("hours", "step", "tables", "rows")}, **lists}
            )
    return pd.DataFrame(looks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="JSON files beside weights")
    parser.add_argument("--picture", type=Path, help="HTML file to draw into")
    asked = parser.parse_args()
    looks = curve(asked.files)
    names = {"hours": "CPU hours", "rows": "rows up to"}
    print(
        markdown_table(
            [names.get(name, name) for name in looks],
            [[_shown(value) for value in look] for _, *look in looks.itertuples()],
        )
    )
    if asked.picture:
        long = looks.melt(
            ["training", "hours", "step", "tables", "rows"], var_name="held-out tables", value_name="loss"
        )
        px.line(long, x="hours", y="loss", color="held-out tables", line_dash="training", markers=True).write_html(
            asked.picture
        )


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
