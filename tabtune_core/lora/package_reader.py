"""The zip of an adapter package, opened without torch and without trust: a page looks at a file from anywhere before anything else does.

In: a file. Out: what its ``tabtune.json`` says and the bytes of its tensors. Nothing is unpacked to the disk and no code in it is run.
"""

import json
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path
from typing import Any

from tabtune_core.errors import AdapterError

TENSORS, FACTS, README, PEFT_CONFIG = "adapter_model.safetensors", "tabtune.json", "README.md", "adapter_config.json"
ADAPTER_FILE = "adapter.zip"
"""What a package is called in the folder of a run, or of an adapter from elsewhere."""
FORMAT = 1
MOST_FILES = 32
"""A package has four."""
FACTS_LIMIT_BYTES = 64_000_000
"""``tabtune.json`` lists the numbers of the context rows; so many bytes are some millions of them."""
DAMAGED = (
    zipfile.BadZipFile,
    KeyError,
    EOFError,
    OSError,
    ValueError,
    zlib.error,
    LZMAError,
    NotImplementedError,
    RuntimeError,
)
"""What zipfile raises for files that are damaged, encrypted, packed in an odd way or made to break a reader."""


def read_parts(path: Path, *, limit_bytes: int = 2**31) -> tuple[dict[str, Any], bytes]:
    """The facts and the tensors, as they lie in the file.

    Raises:
        AdapterError: the file is no adapter package, is damaged, too large, or of a later format.
    """
    content = _read(path, (FACTS, TENSORS), limit_bytes)
    return _facts(path, content[FACTS]), content[TENSORS]


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone. Raises AdapterError as ``read_parts`` does."""
    return _facts(path, _read(path, (FACTS,), 2**31)[FACTS])


def _read(path: Path, names: tuple[str, ...], limit_bytes: int) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive, limit_bytes)
            return {name: archive.read(name) for name in names}
    except FileNotFoundError as error:
        raise AdapterError(f"There is no adapter package at {path}.") from error
    except DAMAGED as error:
        raise AdapterError(f"{path.name} is no adapter package ({error}); it should be a zip with {TENSORS} and {FACTS}.") from error


def _facts(path: Path, content: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{path.name} is no adapter package: its {FACTS} cannot be read ({error}).") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise AdapterError(f"{path.name} is not of the package format {FORMAT} that this version reads.")
    return facts


def _check_sizes(path: Path, archive: zipfile.ZipFile, limit_bytes: int) -> None:
    """By what the zip says of its files; ``zipfile`` stops reading a file there, and refuses one that goes on."""
    files = archive.infolist()
    if len(files) > MOST_FILES:
        raise AdapterError(f"{path.name} holds {len(files):,} files; an adapter package has four.")
    if sum(file.file_size for file in files) > limit_bytes:
        raise AdapterError(f"{path.name} unpacks to more than {limit_bytes / 1e9:.1f} GB; that is no adapter.")
    if archive.getinfo(FACTS).file_size > FACTS_LIMIT_BYTES:
        raise AdapterError(f"{FACTS} in {path.name} is larger than {FACTS_LIMIT_BYTES / 1e6:.0f} MB; that is no adapter.")
