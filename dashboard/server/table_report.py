"""The picture of a table, drawn by skrub on demand: distributions, missing values, associations."""

from functools import lru_cache
from pathlib import Path

from tabtune_core.data.datasets import get_dataset, preview

MOST_ROWS = 10_000
MOST_COLUMNS = 60
"""Each column is a picture; beyond this the page takes minutes."""


@lru_cache(maxsize=4)
def report_html(home: Path, identity: str) -> str:
    """A page of its own about the first rows and columns of a table.

    Raises:
        TableError: for a table that the workspace does not hold.
    """
    dataset = get_dataset(home, identity)
    frame = preview(home, identity, MOST_ROWS).iloc[:, :MOST_COLUMNS]
    from skrub import TableReport  # takes a second to import and few people ask for it

    report = TableReport(
        frame,
        title=f"{dataset.name}, first {len(frame):,} rows",
        verbose=0,
        open_tab="distributions",
        plot_distributions=True,
        compute_associations=True,
    )
    return str(report.html())
