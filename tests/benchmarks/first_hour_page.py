"""The page of ``first_hour_on_a_card.py``: a table a part, of what was measured and nothing else.

In: the JSON of a measurement. Out: Markdown. A part that failed or was late says so above what it had found.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from published import markdown_table

from tabtune_core.settings import STRATEGY_NAMES

Found = list[dict[str, Any]]


def page(whole: dict[str, Any]) -> str:
    """All of it."""
    facts = whole["facts"]
    memory = f"{facts['total_bytes'] / 1e9:.0f} GB"
    mode = ", exclusive-process mode" if facts["exclusive_process"] else ""
    title = "# The first hour on a card" + (" (dry run: nothing was measured on a card)" if whole["dry_run"] else "")
    before = f"{_megabytes(facts['idle']['nvml_device_bytes'])} MB of it in use before"
    head = f"{title}\n\n{facts['name']}, {memory}, {before}, driver {facts['driver']}{mode}. {whole['machine']}."
    how = "`python tests/benchmarks/first_hour_on_a_card.py --out first_hour.json --write` measured this and wrote the page."
    return "\n\n".join([head, how, *(_section(part) for part in whole["parts"])]) + "\n"


def _section(part: dict[str, Any]) -> str:
    title, table = SECTIONS[part["name"]]
    state = {"done": "", "failed": f"**This part failed:** {part['error']}", "late": f"**This part ran out of time.** {part['error']}"}
    parts = [f"## {title}", state[part["status"]], table(part["found"]) if part["found"] else "Nothing was measured."]
    return "\n\n".join(piece for piece in parts if piece)


def _tests(found: Found) -> str:
    counts = Counter(one["outcome"] for one in found)
    said = ", ".join(f"{counts[kind]} {word}" for kind, word in OUTCOMES.items() if counts[kind])
    rows = [[one["test"], OUTCOMES[one["outcome"]], one["reason"].replace("|", "\\|")] for one in found if one["outcome"] != "passed"]
    return f"{said.capitalize()}." + (f"\n\n{markdown_table(['Test', 'Outcome', 'Reason'], rows)}" if rows else "")


def _estimate(found: Found) -> str:
    rows = [
        [
            one["model"],
            STRATEGY_NAMES[one["strategy"]],
            _size(one),
            *_or_error(
                one,
                lambda cell: [
                    _megabytes(cell["estimated_bytes"]),
                    _megabytes(cell["growth_bytes"]),
                    _ratio(cell["estimated_bytes"], cell["growth_bytes"]),
                ],
                3,
            ),
        ]
        for one in found
    ]
    return markdown_table(["Model", "Strategy", "Rows x columns", "Estimated (MB)", "Measured (MB)", "Ratio"], rows)


def _steps(found: Found) -> str:
    full = {_size(one): one.get("step_ms") for one in found if one["kind"] == "full, fp32"}
    rows = [
        [
            one["kind"],
            _size(one),
            *_or_error(
                one,
                lambda cell: [
                    f"{cell['step_ms']:.1f}",
                    _ratio(cell["step_ms"], full.get(_size(cell))),
                    "" if cell["busy_ms"] is None else f"{cell['busy_ms']:.1f}",
                ],
                3,
            ),
        ]
        for one in found
    ]
    return markdown_table(["Step", "Rows x columns", "ms", "To full, fp32", "Card busy (ms)"], rows)


def _memory(found: Found) -> str:
    full = next((one.get("growth_bytes") for one in found if one["kind"] == "full"), None)
    rows = [
        [one["kind"], _size(one), *_or_error(one, lambda cell: [_megabytes(cell["growth_bytes"]), _ratio(cell["growth_bytes"], full)], 2)]
        for one in found
    ]
    return markdown_table(["Training", "Rows x columns", "Growth (MB)", "To full"], rows)


def _sweep(found: Found) -> str:
    rows = [
        [
            one["run"],
            one["status"],
            _or_none(one.get("train_seconds"), ".1f"),
            _megabytes(one.get("growth_bytes")),
            _or_none(one.get("test_log_loss"), ".4f"),
            {True: "yes", False: "no", None: "no adapter"}[one.get("verified")],
            f"{one['nvml_levels']} in {one['samples']} samples",
            "yes" if one["nvml_process"] else "N/A",
            _or_none(one["highest_utilisation"], ".0f"),
        ]
        for one in found
        if "run" in one
    ]
    head = [
        "Run",
        "Status",
        "Training (s)",
        "Growth (MB)",
        "Test log-loss",
        "Adapter verified",
        "Levels of device memory",
        "Process memory",
    ]
    said = [f"`loralab predict {one['adapter']}` gave {one['predicted_rows']:,} rows." for one in found if "adapter" in one]
    failed = [f"{one['run']}: {one['error']}" for one in found if one.get("error")]
    return "\n\n".join([markdown_table([*head, "Highest utilization (%)"], rows), *said, *failed])


def _together(found: Found) -> str:
    alone = next((one["each"][0].get("step_ms") for one in found if one["runs"] == 1), None)
    rows = []
    for one in found:
        times = [each.get("step_ms") for each in one["each"]]
        known = [time for time in times if time is not None]
        complete = alone is not None and len(known) == len(times)
        throughput = f"{sum(alone / time for time in known):.2f}" if complete else "N/A"
        shown = ", ".join(each.get("error") or f"{each['step_ms']:.1f}" for each in one["each"])
        rows.append([str(one["runs"]), _size(one), shown, throughput])
    return markdown_table(["Runs at a time", "Rows x columns", "ms a step, each", "Steps a second, to one alone"], rows)


def _or_error(one: dict[str, Any], cells: Callable[[dict[str, Any]], list[str]], width: int) -> list[str]:
    return [one["error"], *[""] * (width - 1)] if one.get("error") else cells(one)


def _size(one: dict[str, Any]) -> str:
    return f"{one['rows']} x {one['features']}"


def _megabytes(size: float | None) -> str:
    return "N/A" if size is None else f"{size / 1e6:,.0f}"


def _ratio(one: float | None, other: float | None) -> str:
    return "N/A" if one is None or not other else f"{one / other:.2f}"


def _or_none(value: float | None, form: str) -> str:
    return "N/A" if value is None else format(value, form)


OUTCOMES = {"passed": "passed", "failure": "failed", "error": "failed before it began", "skipped": "skipped"}
SECTIONS: dict[str, tuple[str, Callable[[Found], str]]] = {
    "gpu tests": ("Tests that need a card", _tests),
    "estimate": ("The estimate before launch against measured memory", _estimate),
    "step times": ("Step times", _steps),
    "memory": ("Memory, LoRA against full fine-tuning", _memory),
    "sweep": ("A sweep from CSV to adapter", _sweep),
    "two runs at once": ("Two runs at once on one card", _together),
}
