"""What every Plotly figure of ours has: text that stays text, and a toolbar from which nothing leaves the machine."""

import re
from typing import Any

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "sendChartToCloud", "sendDataToCloud"],
}
"""For ``Plotly.react`` and ``to_html``. The toolbar's "Share chart" would upload the chart, so it is off and has no address."""


def plain_in_figure(text: str) -> str:
    """Text out of a file, for a name or label of a figure, where Plotly takes ``<b>``, ``&lt;`` and ``%{x}`` for markup.

    A space of no width parts them.
    """
    return re.sub(r"<|&|%(?=\{)", lambda match: f"{match[0]}\u200b", text)
