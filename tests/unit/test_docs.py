"""The documentation and the package: links, map, commands, figures and installed files match the repository."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tabtune_core.api.tuning_params import FAMILY_MODELS, RATIO
from tabtune_core.cli.main import main
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "pages"
README = ROOT / "README.md"
TEXTS = sorted([README, *(ROOT / ".github").glob("*.md"), *PAGES.rglob("*.md")])
LINK = re.compile(r"(?:\]\(|(?:src|srcset|href)=\")([^)\"\s]+)")
BENCHMARKS = sorted((ROOT / "tests" / "benchmarks").glob("*.py"))


def named(path):
    return str(path.relative_to(ROOT))


def prose(path):
    return re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)


def anchors(path):
    """Returns the anchors that MkDocs makes from the headings of a text without formulas."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_every_link_leads_to_a_file_and_a_heading_of_it():
    lost = []
    for path in TEXTS:
        for link in LINK.findall(prose(path)):
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            is_lost = not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
            lost += [(named(path), link)] if is_lost and not link.startswith(("http://", "https://")) else []
    assert lost == []


def test_every_page_can_be_reached():
    nav = re.findall(r"^ +- (?:.+: )?(\S+\.md)$", (ROOT / "docs" / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(nav) == sorted(str(page.relative_to(PAGES)) for page in PAGES.rglob("*.md"))


def mapped():
    """Returns every path in a table of the architecture pages; a bare name is in the folder of the path before it."""
    for page in (PAGES / "architecture").glob("*.md"):
        for line in page.read_text().splitlines():
            folder = Path()
            for name in re.findall(r"`([\w./]+(?:/|\.\w+))`", line) if line.startswith("|") else ():
                folder = Path(name).parent if "/" in name else folder
                yield str(folder / Path(name).name)


def test_the_architecture_map_names_existing_files():
    assert [path for path in mapped() if not (ROOT / path).exists()] == []


def commands():
    """Returns program, command and flags of every line of the texts that starts one of the two programs."""
    joined = "\n".join(path.read_text().replace("\\\n", " ") for path in TEXTS)
    lines = re.findall(r"(?:python -m |bin/)(loralab|dashboard)((?: [^`\n&>;]*)?)", joined)
    return sorted({(program, tuple(shlex.split(rest))) for program, rest in lines})


@pytest.mark.parametrize(
    ("program", "arguments"), commands(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else value
)
def test_the_texts_use_existing_flags(program, arguments, capsys):
    if program == "dashboard":
        from dashboard.start import parse as ask
    else:
        ask = main
    with pytest.raises(SystemExit) as ended:
        ask([*arguments[: program == "loralab"], "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert [word for word in arguments if word.startswith("--") and not re.search(rf"{word}[ ,\n\]]", text)] == []


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_table_of_models_has_the_sizes_of_the_catalogue(name):
    lines = (PAGES / "reference" / "models.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("|") and f"`{name}`" in line)
    assert f"{CATALOGUE[name].weights_for('classification').total_parameters:,}" in row
    assert f"{adapter_size(CATALOGUE[name], 'classification', LoraSettings(rank=8)).factors:,}" in row


def test_every_alias_of_a_setting_and_every_variable_of_a_family_is_listed():
    page = (PAGES / "how-to" / "python.md").read_text()
    names = [RATIO, *(variable for variable, _ in FAMILY_MODELS.values())]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_a_benchmark_writes_to_a_page_with_a_place_for_it():
    pages = "".join(page.read_text() for page in (PAGES / "measurements").glob("*.md"))
    names = re.findall(r"publish\(\"([\w-]+)\"", "".join(path.read_text() for path in BENCHMARKS))
    assert len(names) > 5
    for name in names:
        assert [pages.count(f"<!-- {name}:{end} -->") for end in ("begin", "end")] == [1, 1], name


def test_the_imports_of_the_benchmarks_exist(monkeypatch):
    pytest.importorskip("peft", reason="the extra test is not installed")
    monkeypatch.syspath_prepend(BENCHMARKS[0].parent)
    monkeypatch.syspath_prepend(ROOT / "tests" / "fakes")
    text = "\n".join(path.read_text() for path in BENCHMARKS)
    names = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
    assert [name for name in names if importlib.util.find_spec(name) is None] == []


def ratios(page, row):
    """Returns the least and the largest "of full" ratio in the rows of a measurement that begin so."""
    text, pattern = (PAGES / "measurements" / page).read_text(), rf"^\| +\| {re.escape(row)} \|.*?([\d.]+)\**? of full"
    shares = re.findall(pattern, text, re.MULTILINE)
    return min(shares), max(shares)


def test_the_guides_repeat_the_measured_step_times():
    guide = (PAGES / "guide.md").read_text()
    for row in ("LoRA, the model's own targets", "the same with dropout 0.05", "LoRA, `late_layers`, cached"):
        least, most = ratios("step_time.md", row)
        assert re.search(rf"{least} to\s+{most}", guide), row


def test_the_guide_repeats_the_measured_memory():
    lines = (PAGES / "measurements" / "training_memory.md").read_text().splitlines()[::-1]
    rows = [row for row in (re.split(r" *\| *", line) for line in lines) if len(row) == 8 and "**" in row[4]]
    measured = {tuple(row[1:4]): [cell.split("**")[1] for cell in row[4:7]] for row in rows}
    row = r"^\| ((?:TabICL|TabDPT|Mitra) v?[\d.]+).* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$"
    repeated = re.findall(row, (PAGES / "guide.md").read_text(), re.MULTILINE)
    assert len(repeated) == 3
    for model, *shares in repeated:
        every, late = (measured[model, "256 x 10", layers] for layers in ("all", "late"))
        assert shares == [every[0], every[2], late[2]], model


def test_ci_runs_exactly_the_test_command_of_the_readme():
    command = re.search(r"^python3 -m venv .*pytest$", README.read_text(), re.MULTILINE)[0]
    ci = (ROOT / ".ci" / "run").read_text().replace("pip install -q -e", "pip install -e")
    assert command in ci.splitlines()


def test_the_numbers_of_the_readme_are_those_of_the_measurements():
    readme, measured = README.read_text(), PAGES / "measurements"
    gains = (measured / "lora_gain.md").read_text().split("| table (rows) | chosen | zero-shot accuracy")[0]
    verdicts = re.findall(r"\| (better|no difference|worse) \|", gains)
    assert f"**{verdicts.count('better')} of {len(verdicts)}** real tables" in readme
    lora, full = re.search(r"\*\*(\d+) of (\d+) MB\*\*", readme).groups()
    memory = (measured / "training_memory.md").read_text()
    assert re.search(rf"^\| TabICL v2 \| 256 x 10 \| late \|.*{lora} / {full} =", memory, re.MULTILINE)
    claimed = re.search(r"\*\*(\d+ of \d+)\*\* sweeps", readme)[1]
    assert re.search(rf"shuffled labels.*\| {claimed} \|", (measured / "claims.md").read_text())


SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def shipped(package):
    patterns = SETUPTOOLS["package-data"][package]
    return {path for pattern in patterns for path in (ROOT / package).glob(pattern) if path.is_file()}


@pytest.mark.parametrize("package", SETUPTOOLS["package-data"])
def test_every_file_of_a_package_is_installed_with_it(package):
    there = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there <= shipped(package)
