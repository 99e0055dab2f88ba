"""Which code a worker has loaded, as one word: an installation that is edited in place keeps its version number."""

import hashlib
from pathlib import Path

from tabtune_core.upstream import DISTRIBUTION, installed_now

PACKAGE = Path(__file__).parents[1]


def code_version(package: Path = PACKAGE) -> str:
    """Of the code as it is on disk now, which a process started now would load: the package's version and 8 digits of its sources' hash."""
    digest = hashlib.sha256()
    for path in sorted((*package.rglob("*.py"), *package.rglob("*.sql"))):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    number = installed_now(DISTRIBUTION) or "0"  # run from a folder, not installed
    return f"{number}+{digest.hexdigest()[:8]}"
