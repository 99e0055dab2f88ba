"""Compares LoRA ranks with the model as it is on the tutorial's table, in Python alone: ``python
docs/examples/compare_ranks.py``.

Prints the ranking and writes ``board.html``. ``--rows`` and ``--steps`` make it shorter.
"""

import argparse

from quantiles import quantiles
from sklearn.model_selection import train_test_split

from tabtune_core import TabularLeaderboard


def main() -> None:
    """Two minutes on one CPU core, with the default of 600 rows and 60 steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args()

    table = quantiles(asked.rows)
    x_train, x_test, y_train, y_test = train_test_split(table.drop(columns="shell"), table["shell"], random_state=0)
    board = TabularLeaderboard(x_train, x_test, y_train, y_test)
    board.add_model("tabicl-mini", "inference", name="zero-shot")
    for rank in (2, 8):
        params = {"steps": asked.steps, "learning_rate": 2e-3, "peft_config": {"r": rank}}
        board.add_model("tabicl-mini", "peft", name=f"LoRA r={rank}", tuning_params=params)
    board.run(rank_by="log_loss")
    print(board.get_ranking())
    board.to_html("board.html")


if __name__ == "__main__":
    main()
