"""A model of yours to a repository on the hub: one commit with the file and its card."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npdraw.errors import ResourceError, UsageError
from npdraw.hub import HubModel
from npdraw.hub.client import UnreachableError, connect
from npdraw.runtime.progress import Progress

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoSibling


PATIENCE = 60.0
"""Seconds without an answer that end an upload: the hub checks files before it answers."""


@dataclass(frozen=True)
class Uploaded:
    """Where the files are, and who can read them."""

    url: str
    private: bool
    commit: str
    up_to_date: bool
    """Whether they were there before."""


def upload(
    model: HubModel,
    files: Mapping[str, bytes],
    *,
    message: str,
    private: bool,
    force: bool,
    progress: Progress,
) -> Uploaded:
    """Create the repository if it does not exist, and commit `files`, name -> content, to it.

    Existing files with other content are replaced only with `force`; the hub keeps earlier commits.
    A new repository is public, or as its organisation decides, unless `private`.

    Raises:
        UsageError: huggingface_hub is not installed; the token is missing; the hub refuses the
            token or the name; files would be replaced; or a private repository was asked for and
            the existing one is public.
        ResourceError: the hub cannot be reached; the same call then completes the upload.
    """
    hub = connect(to_write=True)
    url = f"{hub.api.endpoint}/{model.repository}"
    try:
        with hub.explained(model, "write"), _patient():
            hub.api.create_repo(model.repository, private=private or None, exist_ok=True)
            found = hub.api.model_info(model.repository, files_metadata=True, timeout=PATIENCE)
            is_private = bool(found.private)
            if private and not is_private:
                raise UsageError(
                    f"{url} exists and is public",
                    hint="Make it private in its settings there, or choose another name.",
                )
            existing = {file.rfilename: file for file in found.siblings or ()}
            changed = {
                name: content
                for name, content in files.items()
                if name not in existing or not _is_same(existing[name], content)
            }
            if not changed:
                return Uploaded(url, is_private, str(found.sha), up_to_date=True)
            _check_replaced(url, [name for name in changed if name in existing], force=force)
            size = sum(map(len, changed.values())) / 1e6
            progress.note(f"Uploading {size:.1f} MB to {url}")
            commit = _commit(hub.api, model.repository, changed, message, after=found.sha)
    except UnreachableError as error:
        raise ResourceError(
            error.message, hint=f"{error.hint} The same command then completes the upload."
        ) from error
    return Uploaded(url, is_private, commit, up_to_date=False)


def _is_same(file: "RepoSibling", content: bytes) -> bool:
    """Return whether a file of a repository has this content, known by its checksum."""
    if file.lfs is not None:
        return file.lfs.sha256 == hashlib.sha256(content).hexdigest()
    blob = b"blob %d\0%b" % (len(content), content)  # as git names it
    return file.blob_id == hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def _check_replaced(url: str, names: Sequence[str], *, force: bool) -> None:
    if names and not force:
        raise UsageError(
            f"{url} exists with another {' and '.join(names)}",
            hint="--force replaces that; the hub keeps the earlier commit. Or choose another name.",
        )


def _commit(
    api: "HfApi", repository: str, files: Mapping[str, bytes], message: str, *, after: str | None
) -> str:
    """Commit files at once, if the newest commit still is `after`; return the new one."""
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.utils.tqdm import disable_progress_bars

    operations = [CommitOperationAdd(name, content) for name, content in files.items()]
    with disable_progress_bars(), warnings.catch_warnings():
        # huggingface_hub 2.4 hands files to httpx2 as it did to an earlier release.
        warnings.filterwarnings("ignore", "Use 'content=")
        committed = api.create_commit(
            repository, operations, commit_message=message, parent_commit=after
        )
    return str(committed.oid)


@contextmanager
def _patient() -> Iterator[None]:
    """Let requests of huggingface_hub end after `PATIENCE`: most would wait indefinitely."""
    from huggingface_hub import get_session

    session = get_session()
    earlier, session.timeout = session.timeout, PATIENCE
    try:
        yield
    finally:
        session.timeout = earlier
