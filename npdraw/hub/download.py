"""Models of others: one file of a repository, from the cache of huggingface_hub if it has it.

The file comes from strangers. It is read by the code that reads every artifact, which checks each
byte before it is used, and nothing else of the repository is touched.
"""

from pathlib import Path
from types import TracebackType
from typing import Any

from npdraw.errors import ArtifactError, NpdrawError
from npdraw.files import disk_error
from npdraw.header import read_header
from npdraw.hub import FILE, HubModel
from npdraw.hub.client import TIMEOUT, Hub, UnreachableError, connect
from npdraw.runtime.progress import Progress

MOST_BYTES = 1 << 30
"""Limit on a file: a model of npdraw has some megabytes, and the rest of the hub is not ours."""

_KB = 1000


def download(model: HubModel, progress: Progress) -> Path:
    """Return the file of a model on the hub, after its bytes have been checked.

    The hub says which commit a branch or tag stands for, and only a commit that is not in the cache
    is downloaded. If the hub cannot be reached, the cached commit is used, and a note says so; a
    commit that is named and cached needs no network at all.

    Raises:
        ArtifactError: the model does not exist or access to it is denied; the hub cannot be reached
            and the model is not in the cache; or the file is not a model, is damaged or too large.
        UsageError: huggingface_hub is not installed, or the hub refuses the token.
        ResourceError: the disk is full.
    """
    hub = connect()
    kept = _cached(model, model.revision)
    if kept is not None and kept.parent.name == model.revision:
        return _checked(kept, model)
    try:
        path = _fetched(hub, model, kept, progress)
    except UnreachableError as error:
        if kept is None:
            raise ArtifactError(
                f"{error.message}; {model} is not in the cache either", hint=error.hint
            ) from error
        progress.note(f"{error.message}. Using the copy of {model} in the cache: {_commit(kept)}")
        path = kept
    return _checked(path, model)


def _fetched(hub: Hub, model: HubModel, kept: Path | None, progress: Progress) -> Path:
    """Return the file of the commit that the revision stands for now; download it if necessary.

    `kept` is the file of the commit that it stood for when it was last asked for.
    """
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(model.repository, FILE, revision=model.revision, endpoint=hub.api.endpoint)
    with hub.explained(model, "read"):  # huggingface_hub itself would try for half a minute
        metadata = hub.api.get_hf_file_metadata(url=url, timeout=TIMEOUT)
    size = metadata.size
    if metadata.commit_hash is None or metadata.etag is None or size is None:
        raise UnreachableError(
            f"{hub.api.endpoint} does not answer as a Hugging Face hub does",
            hint="Check the network, a proxy, and HF_ENDPOINT if it is set.",
        )
    if size > MOST_BYTES:
        raise ArtifactError(
            f"{FILE} of {model} has {size:,} bytes; models of npdraw have at most {MOST_BYTES:,}",
            hint="Check the name: this is a model of another kind.",
        )
    if kept is not None and kept.parent.name == metadata.commit_hash:
        return kept
    is_new = _cached(model, metadata.commit_hash) is None
    if is_new:
        progress.note(f"Downloading {model} from {hub.api.endpoint}: {size / 1e6:.1f} MB")
        progress.start(str(model), size // _KB, unit="kB")
    try:
        with hub.explained(model, "read"):
            path = hub.api.hf_hub_download(
                model.repository,
                FILE,
                revision=model.revision,
                etag_timeout=TIMEOUT,
                tqdm_class=_bar(progress, size),
            )
    except OSError as error:
        raise _not_written(error) from error
    if is_new:
        progress.update(size // _KB)
        progress.finish()
    return Path(path)


def _cached(model: HubModel, revision: str | None) -> Path | None:
    """Return the file of a revision in the cache: of a branch or tag, the commit last seen."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.repository, FILE, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _checked(path: Path, model: HubModel) -> Path:
    """Return `path` if it is a whole model of npdraw; its digest covers every byte."""
    try:
        read_header(path, kind="model", verify=True)
    except ArtifactError as error:
        raise ArtifactError(
            error.message.replace(str(path), f"{FILE} of {model}"),
            hint=f"Ask its owner for a sound one. If it was damaged here, delete {path.parents[2]}",
        ) from error
    return path


def _commit(path: Path) -> str:
    return f"commit {path.parent.name[:7]}"


def _not_written(error: OSError) -> NpdrawError:
    """Return the error for a cache that cannot be written."""
    path = Path(error.filename or "the cache of huggingface_hub")
    return disk_error(path, error) or ArtifactError(
        f"cannot write {path}: {error.strerror or error}",
        hint="Set HF_HUB_CACHE to a folder that you can write to.",
    )


def _bar(progress: Progress, size: int) -> type:
    """Return the class that huggingface_hub reports to, with what it uses of tqdm's interface.

    The Xet protocol has two bars, of bytes that arrive and of bytes that are written.
    """
    shown = 0

    class Bar:
        def __init__(self, *_: Any, total: int | None = None, **__: Any) -> None:
            self.n, self.total = 0, total

        def update(self, n: int = 1) -> None:
            nonlocal shown
            self.n += n
            shown = max(shown, min(self.n, size))
            progress.update(shown // _KB)

        def set_postfix_str(self, *_: Any, **__: Any) -> None: ...

        def refresh(self) -> None: ...

        def close(self) -> None: ...

        def __enter__(self) -> "Bar":
            return self

        def __exit__(
            self,
            kind: type[BaseException] | None,
            raised: BaseException | None,
            trace: TracebackType | None,
        ) -> None: ...

    return Bar
