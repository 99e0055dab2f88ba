"""The zip of an adapter package, opened without torch and without trust: the one door for the page, the command line and Python.

In: a file. Out: what its ``tabtune.json`` says and the bytes of its tensors. Nothing is unpacked to the disk and no code in it is run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tabtune_core.errors import AdapterError
from tabtune_core.files.archives import Archive, open_archive
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import read_json
from tabtune_core.files.tensors import check_finite, read_header
from tabtune_core.lora.hub import at_hand
from tabtune_core.lora.package_facts import bytes_declared, check_facts, check_tensors

TENSORS, FACTS, README, PEFT_CONFIG = "adapter_model.safetensors", "tabtune.json", "README.md", "adapter_config.json"
FORMAT = 1
FACTS_LIMIT_BYTES = 12_000_000
"""``tabtune.json`` lists the numbers of the context rows; so many bytes are more than a million of them."""
_END = f" It should be the zip of an adapter, with {TENSORS} and {FACTS}: take the file again from where it was made."


def read_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The facts and the tensors, as they lie in the file.

    Raises:
        AdapterError: the file is not an adapter package, is damaged, too large, or of a later format.
    """
    with _opened(path) as archive:
        facts = _facts(archive)
        content = archive.read(TENSORS, most_bytes=bytes_declared(facts))
        tensors, _ = read_header(content)
        if not tensors:
            raise Damaged(f"its {TENSORS} is empty, so there is no adapter in it")
        check_tensors(facts, tensors)
        check_finite(content, tensors)
        return facts, content


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone. Raises AdapterError as ``read_parts`` does."""
    with _opened(path) as archive:
        return _facts(archive)


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    path = at_hand(path)
    with refused_as(AdapterError, f"{path.name} is not an adapter package", _END):
        if not path.exists():
            raise AdapterError(f"There is no adapter package at {path}.")
        with open_archive(path) as archive:
            yield archive


def _facts(archive: Archive) -> dict[str, Any]:
    facts = read_json(archive.read(FACTS, most_bytes=FACTS_LIMIT_BYTES))
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise Damaged(f"it is not of the package format {FORMAT} that this version reads")
    check_facts(facts)
    return facts
