"""A file of a data set on the Hugging Face Hub: ``hf://datasets/owner/name/file.parquet``, with a revision after ``name@``."""

import re
from pathlib import Path

from tabtune_core.data.reading.progress import Tell
from tabtune_core.data.sources.base import Fetched
from tabtune_core.data.sources.web import download
from tabtune_core.errors import TableError

ADDRESS = re.compile(r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)")


def fetch(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Downloads the file; one that is in the Hub's cache is taken from there where the Hub is offline."""
    from huggingface_hub import constants, get_token, hf_hub_url, try_to_load_from_cache

    found = ADDRESS.fullmatch(asked)
    if found is None:
        raise TableError(f"{asked!r} does not name a file of a data set. Write hf://datasets/OWNER/NAME/FILE, for example a .parquet file.")
    repo, revision, file = found["repo"], found["revision"] or "main", found["file"]
    name = file.rpartition("/")[2]
    if constants.HF_HUB_OFFLINE:
        cached = None if guarded else try_to_load_from_cache(repo, file, repo_type="dataset", revision=revision)
        if isinstance(cached, str):
            return Fetched(Path(cached), name)
        raise TableError(f"HF_HUB_OFFLINE is set, and {file} of {repo} is not in the cache. Download it elsewhere and give its path.")
    # whose token it is: of the person who runs the server, and not of whoever types on a page
    token = None if guarded else get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = hf_hub_url(repo, file, repo_type="dataset", revision=revision)
    download(address, folder / "download", limit_bytes=limit_bytes, tell=tell, guarded=guarded, headers=headers)
    return Fetched(folder / "download", name)
