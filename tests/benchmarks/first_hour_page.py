"""The page of ``first_hour_on_a_card.py``: one table per part, with only measured values.

In: the JSON of a measurement. Out: Markdown. A part that failed or was late says so above its results.
"""

from typing import Any

from published import markdown_table

TITLES = {
    "gpu tests": "Tests that need a card",
    "estimate": "The estimate before launch against measured memory",
    "step times": "Step times",
    "memory": "Memory, LoRA against full fine-tuning",
    "sweep": "A sweep from CSV to adapter",
    "two runs at once": "Two runs at once on one card",
}
STATES = {"done": "", "failed": "**This part failed:** {}", "late": "**This part ran out of time.** {}"}


def page(whole: dict[str, Any]) -> str:
    """The whole page."""
    facts = whole["facts"]
    mode = ", exclusive-process mode" if facts["exclusive_process"] else ""
    title = "# The first hour on a card" + (" (dry run: nothing was measured on a card)" if whole["dry_run"] else "")
    before = f"{_shown(facts['idle']['nvml_device_bytes'] / 1e6)} MB of it in use before"
    head = (
        f"{title}\n\n{facts['name']}, {facts['total_bytes'] / 1e9:.0f} GB, {before}, driver "
        f"{facts['driver']}{mode}. {whole['machine']}."
    )
    how = (
        "`python tests/benchmarks/first_hour_on_a_card.py --out first_hour.json --write` measured this and wrote "
        "the page."
    )
    return "\n\n".join([head, how, *(_section(part) for part in whole["parts"])]) + "\n"


def _section(part: dict[str, Any]) -> str:
    state = STATES[part["status"]].format(part["error"])
    found = _table(part["found"]) if part["found"] else "Nothing was measured."
    return "\n\n".join(piece for piece in (f"## {TITLES[part['name']]}", state, found) if piece)


def _table(found: list[dict[str, Any]]) -> str:
    """One column per value found in any row; missing values are empty, and unknown ones N/A."""
    columns = list(dict.fromkeys(name for one in found for name in one))
    return markdown_table(columns, [[_shown(one.get(name, "")) for name in columns] for one in found])


def _shown(value: object) -> str:
    words = {None: "N/A", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"{value:,.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
