"""Adapters on the Hugging Face Hub: pushed with a model card, opened by ``hf://owner/name``. Loads no torch."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from tabtune_core.errors import AdapterError
from tabtune_core.files.damaged import one_line
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.metrics import METRICS

FILE = "adapter.zip"
ADDRESS = re.compile(r"hf:/{1,2}([^/@]+/[^/@]+)(?:@([^/]+))?")
"""An address that was turned into a path has one slash. ``@`` is followed by a branch, tag or commit."""
LIMIT_BYTES = 200_000_000
"""Largest file: an adapter of rank 64 on every layer of the largest model has a quarter of it."""
LISTED = ("apache-2.0", "bsd-3-clause", "mit")
"""Licences of weights that the Hub knows by their SPDX name in lower case."""


def at_hand(source: str | Path, token: Literal[False] | None = None) -> Path:
    """Returns the file of an adapter; ``hf://owner/name`` is downloaded into the Hugging Face cache.

    Args:
        source: a path or an address.
        token: None uses the token of ``hf auth login``; False uses none, for anybody but the person who logged in.

    Raises:
        AdapterError: the hub cannot be reached, or the repository, its file or the permission to read it is missing.
    """
    named = ADDRESS.fullmatch(source if isinstance(source, str) else source.as_posix())
    if not named:
        return Path(source)
    from huggingface_hub import HfApi, errors, get_hf_file_metadata, hf_hub_url

    api, repo, revision = HfApi(token=token), named[1], named[2]
    with _asking(repo):
        # offline, the cache may have the file, but only for the person whose log-in downloaded it
        missed: tuple[type[Exception], ...] = () if token is False else (errors.OfflineModeIsEnabled, *_network())
        with suppress(*missed):
            address = hf_hub_url(repo, FILE, revision=revision, endpoint=api.endpoint)
            size = get_hf_file_metadata(address, token=token).size
            if size is not None and size > LIMIT_BYTES:
                most = f"an adapter may have {LIMIT_BYTES / 1e6:.0f}"
                raise AdapterError(f"The adapter of hf://{repo} has {size / 1e6:,.0f} MB; {most}.")
        return Path(api.hf_hub_download(repo, FILE, revision=revision))


def read_public(address: str) -> bytes:
    """Reads the package at ``hf://owner/name``, without the log-in of this machine; raises as ``at_hand``."""
    if not ADDRESS.fullmatch(address):
        raise AdapterError("That is not the address of an adapter on the Hugging Face Hub. Write hf://owner/name.")
    return at_hand(address, token=False).read_bytes()


def push(package: bytes, card: str, repo: str, *, public: bool) -> str:
    """Creates or updates a repository with a package and its card; returns its address. Raises as ``at_hand``."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api, parts = HfApi(), {FILE: package, "README.md": card.encode()}
    with _asking(repo):
        address = api.create_repo(repo, private=not public, exist_ok=True)
        if not public and not api.repo_info(repo).private:
            raise AdapterError(f"The repository {repo} exists and is public. Add --public, or choose another name.")
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=part) for name, part in parts.items()]
        api.create_commit(repo, operations=operations, commit_message="LoRA adapter")
    return str(address)


def card_of(facts: PackageFacts, readme: str, repo: str) -> str:
    """Writes the README of a repository: metadata for the Hub, the package's own README, and the measured scores."""
    from huggingface_hub import EvalResult, ModelCardData

    task, name = f"tabular-{facts.settings.task}", facts.base.licence.name
    metric = METRICS[facts.settings.selection_metric]
    scores = {part: of[metric.name] for part, of in facts.scores.items() if metric.name in of}
    listed = name is not None and name.lower() in LISTED
    data = ModelCardData(
        base_model=facts.base.repository,
        license=name.lower() if name and listed else "other" if name else "unknown",
        license_name=None if listed else name,
        pipeline_tag=task,
        tags=["lora", "tabular"],
        model_name=repo,
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type="private",
                dataset_name=f"{facts.table_name} ({part} rows)",
                metric_type=metric.name,
                metric_value=score,
            )
            for part, score in scores.items()
        ]
        or None,
    )
    lines = [f"| {metric.written} | {part} | {metric.text(score)} |" for part, score in scores.items()]
    table = "\n".join(["\n## Measured\n", "| score | rows | value |", "| --- | --- | ---: |", *lines, ""])
    loader = readme.replace(f'load_adapter("{FILE}"', f'load_adapter("hf://{repo}"')
    loader = loader.replace("  # the name of this file", "")
    return f"---\n{data.to_yaml()}\n---\n\n{loader}{table if lines else ''}"


def _network() -> tuple[type[Exception], ...]:
    """Returns the exceptions without an answer, of whichever HTTP library huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return (HfHubHTTPError.__bases__[0], OSError)


@contextmanager
def _asking(repo: str) -> Iterator[None]:
    """Raises AdapterError with the words of the Hub's package, and with the usual ways out."""
    from huggingface_hub.errors import HFValidationError

    kinds: tuple[type[Exception], ...] = (HFValidationError, *_network())
    try:
        yield
    except kinds as error:
        ways_out = "Check the name and the network; a private repository needs 'hf auth login'."
        raise AdapterError(f"hf://{repo}: {one_line(error)} {ways_out}") from error
