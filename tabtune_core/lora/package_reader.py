"""Reads the zip of an adapter package, an untrusted file, without running code, and writes its README."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tabtune_core.errors import AdapterError
from tabtune_core.files.archives import Archive, open_archive
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import read_json
from tabtune_core.files.tensors import check_finite, read_tensors
from tabtune_core.lora.hub import at_hand
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.variants import VARIANTS
from tabtune_core.wording import counted

TENSORS, FACTS, README, PEFT_CONFIG = "adapter_model.safetensors", "tabtune.json", "README.md", "adapter_config.json"
FACTS_LIMIT_BYTES = 12_000_000
"""Largest ``tabtune.json``, which lists the numbers of the context rows: enough for more than a million."""
_END = f" It should be the zip of an adapter, with {TENSORS} and {FACTS}: copy the file again from where it was made."


def read_parts(path: Path) -> tuple[PackageFacts, bytes]:
    """Returns the facts, and the checked bytes of the tensors; raises AdapterError if it is no package."""
    with _opened(path) as archive:
        facts = _facts(archive)
        content = archive.read(TENSORS, most_bytes=facts.bytes_declared)
        tensors = read_tensors(content)
        if not tensors:
            raise Damaged(f"its {TENSORS} is empty, so there is no adapter in it")
        facts.check_tensors(tensors)
        check_finite(tensors)
        return facts, content


def read_facts(path: Path) -> PackageFacts:
    """Returns the facts alone. Raises AdapterError as ``read_parts`` does."""
    with _opened(path) as archive:
        return _facts(archive)


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    path = at_hand(path)
    with refused_as(AdapterError, f"{path.name} is not an adapter package", _END):
        if not path.exists():
            hub = " An adapter on the Hugging Face Hub is hf://OWNER/NAME." if str(path).startswith("hf:") else ""
            raise AdapterError(f"There is no adapter package at {path}.{hub}")
        with open_archive(path) as archive:
            if odd := archive.sizes.keys() - {TENSORS, FACTS, README, PEFT_CONFIG}:
                raise Damaged(f"its member {min(odd)[:60]!r} does not belong to a package")
            yield archive


def _facts(archive: Archive) -> PackageFacts:
    return PackageFacts.from_json(read_json(archive.read(FACTS, most_bytes=FACTS_LIMIT_BYTES)))


def without_labels(path: Path) -> bytes:
    """Returns the package with a hash in place of the class labels, which its loader takes from the context rows.

    Anybody who guesses all labels can confirm the guess by the hash.
    """
    facts, _ = read_parts(path)
    classes = tuple(f"class {k}" for k in range(1, len(facts.classes) + 1))
    facts = replace(facts, labels_sha256=facts.label_hash, classes=classes) if classes else facts
    written = {FACTS: json.dumps(facts.to_json(), separators=(",", ":")), README: readme(facts)}
    made = io.BytesIO()
    with _opened(path), zipfile.ZipFile(path) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        for entry in archive.infolist():
            same = zipfile.ZipInfo(entry.filename, entry.date_time)  # the same bytes each time
            zipped.writestr(same, written.get(entry.filename) or archive.read(entry), entry.compress_type)
    return made.getvalue()


def readme(facts: PackageFacts) -> str:
    """Writes the package's README, with a loader that runs."""
    settings, base, lora = facts.settings, facts.base, facts.settings.lora
    if facts.opens_with_peft:
        peft = "Hugging Face PEFT opens it too (`adapter_config.json`), on the module of the upstream package."
    else:
        reads_weights = any(layer.kind == "weight" for layer in facts.layers)
        why = "the model reads its attention weights without calling a layer"
        why = why if reads_weights else "it does not support this on an embedding"
        peft = f"Hugging Face PEFT cannot apply it: {why}. Use the loader above."
    checkpoint = f", checkpoint={facts.checkpoint!r}" if facts.checkpoint else ""
    classes, named = facts.classes, facts.labels_sha256 is None
    says = ", ".join(classes) if named else f"{len(classes)} classes"
    labels = (", the class labels" if named else ", a hash of the class labels in their place") if classes else ""
    probabilities = "print(model.predict_proba(test, context=context))\n" if classes else ""
    variants = ", rsLoRA" * lora.use_rslora + f", {VARIANTS[lora.variant].title}" * (lora.variant != "lora")
    made_by = facts.versions.get("tabtune_core", "a version that is not known")
    biases = f" and {len(facts.biases)} bias{'es' * (len(facts.biases) > 1)}" if facts.biases else ""
    return f"""# LoRA adapter for {base.model}

Rank {lora.rank}, alpha {lora.effective_alpha:g}{variants}, on {counted(len(facts.layers), "layer")}{biases}.
Predicts `{settings.target}` ({says or "numbers"}).
Base weights: `{base.file}`, SHA-256 `{base.sha256}`; the loader checks it. Their licence: {base.licence}.

The model predicts from context rows. This package holds no row of your table, so the loader needs the table
(`{facts.table_name}`). Of the table it holds the name of its file, the names and kinds of its columns{labels},
the marks that stand for missing cells, and the row numbers and the hash of the {len(facts.context_rows):,} context rows of the run.

```python
from tabtune_core import load_adapter, read_table

model = load_adapter("adapter.zip"{checkpoint})  # the name of this file
table = read_table({facts.table_name!r}, model.reading).frame
context = model.context(table)                    # the run's own rows, checked by their hash
test = table.iloc[model.split(table).test]
print(model.predict(test, context=context))
{probabilities}```

Needs the Python package `tabtune-dashboard` (it made this file: {made_by}). {peft}

Validation and test scores of the run: see `tabtune.json`.
"""  # noqa: E501
