"""Which code a worker has loaded, in a word: an installation that is edited in place keeps its version number."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def code_version(package: Path = PACKAGE) -> str:
    """Of the code as it is on disk now, which a process started now would load: the package's version and 8 digits of its sources' hash."""
    digest = hashlib.sha256()
    for path in sorted((*package.rglob("*.py"), *package.rglob("*.sql"))):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    try:
        number = version("tabtune-dashboard")
    except PackageNotFoundError:  # run from a folder, not installed
        number = "0"
    return f"{number}+{digest.hexdigest()[:8]}"
