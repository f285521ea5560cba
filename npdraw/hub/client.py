"""A connection to the Hugging Face hub. What fails becomes one error with a hint.

Endpoint, cache and token are those of huggingface_hub, from its own settings and environment. The
token is never printed: it is cut out of whatever a server or a library says.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from npdraw.errors import ArtifactError, NpdrawError, UsageError
from npdraw.extras import require
from npdraw.hub import FILE, HubModel
from npdraw.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

Doing = Literal["read", "write"]

TIMEOUT = 10.0
"""Seconds without an answer to a question after which the hub counts as unreachable."""

LOG_IN = "Log in once with a token of your account: hf auth login. Or set HF_TOKEN to one."

_LONGEST = 300  # characters of what a server says
_TRY_LATER = frozenset({408, 429})  # and 500 and above: the request was right, the time was not


class UnreachableError(ArtifactError):
    """The hub does not answer, or cannot now."""


@dataclass(frozen=True)
class Hub:
    """A connection: the functions of huggingface_hub, with one token or none."""

    api: "HfApi"
    token: str | None

    @contextmanager
    def explained(self, model: HubModel, doing: Doing) -> Iterator[None]:
        """Turn what huggingface_hub raises about `model` into errors.

        Raises:
            UnreachableError: the hub does not answer, is out of order, or answers nonsense.
            ArtifactError: on reading, the repository, revision or file does not exist, or access to
                it is denied.
            UsageError: the hub refuses the token or, on writing, the request.
        """
        from httpx2 import HTTPError, InvalidURL
        from huggingface_hub.errors import HfHubHTTPError

        try:
            yield
        except HfHubHTTPError as error:
            raise self._refusal(error, model, doing) from error
        except (HTTPError, InvalidURL) as error:
            raise self._unreachable(error) from error
        except OSError as error:
            if error.errno is not None:  # of a file, not of the network
                raise
            raise self._unreachable(error) from error
        except (RuntimeError, ValueError, KeyError) as error:  # an odd answer, or what caused it
            if isinstance(error.__cause__, HfHubHTTPError):
                raise self._refusal(error.__cause__, model, doing) from error
            raise self._unreachable(error.__cause__ or error) from error

    def _refusal(self, error: "HfHubHTTPError", model: HubModel, doing: Doing) -> NpdrawError:
        """Return the error for an answer that is not a success."""
        from huggingface_hub import errors

        status, name, where = error.response.status_code, model.repository, self.api.endpoint
        if status == 401 and "authorization" in error.response.request.headers:
            return UsageError(
                f"{where} does not accept the token that was sent",
                hint=f"{LOG_IN} If HF_TOKEN is set, it is used in place of the login.",
            )
        absent = {
            errors.GatedRepoError: (
                f"the owner of {name} decides who may read it",
                f"Ask for access at {where}/{name}. {LOG_IN}",
            ),
            errors.RepositoryNotFoundError: (
                f"{where} has no model {name}, or it is private",
                f"Check the name. To read a private one: {LOG_IN}",
            ),
            errors.RevisionNotFoundError: (
                f"{name} has no revision {model.revision or 'main'}",
                "Name a branch, a tag or a commit of the repository, or none.",
            ),
            errors.RemoteEntryNotFoundError: (
                f"{name} has no file {FILE}, so it is not a model of npdraw",
                "Models of npdraw are uploaded by npdraw push.",
            ),
        }
        found: type[Exception] = type(error)
        if status == 401 and found is errors.HfHubHTTPError:
            found = errors.RepositoryNotFoundError  # as for everything that is not public
        for kind, (message, hint) in absent.items():
            if issubclass(found, kind):
                return ArtifactError(message, hint=hint)
        said = self._line(error.server_message or error.response.reason_phrase)
        if status in _TRY_LATER or status >= 500:
            return UnreachableError(
                f"{where} is out of order: {status} {said}", hint="Try again later."
            )
        hints = {
            403: f"Tokens need the permission to {doing} it: {where}/settings/tokens",
            412: "Run the same command again.",  # the repository changed meanwhile
        }
        refused = ArtifactError if doing == "read" else UsageError
        return refused(
            f"{where} refuses to {doing} {name}: {status} {said}",
            hint=hints.get(status, "Check the name."),
        )

    def _unreachable(self, error: BaseException) -> UnreachableError:
        """Return the error for a hub that gave no answer, or one that makes no sense."""
        from httpx2 import ConnectError, InvalidURL, ProxyError, TimeoutException
        from httpx2 import UnsupportedProtocol as Unsupported
        from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

        if isinstance(error, LocalEntryNotFoundError) and error.__cause__:
            error = error.__cause__
        if isinstance(error, OfflineModeIsEnabled):
            return UnreachableError(
                f"HF_HUB_OFFLINE is set, so {self.api.endpoint} is not asked", hint="Unset it."
            )
        reason = self._line(str(error) or type(error).__name__)
        if isinstance(error, TimeoutException):
            reason = "it does not answer"
        elif not isinstance(error, ConnectError | InvalidURL | ProxyError | Unsupported):
            return UnreachableError(
                f"the transfer from or to {self.api.endpoint} failed: {reason}",
                hint="Try again.",
            )
        return UnreachableError(
            f"cannot reach {self.api.endpoint}: {reason}",
            hint="Check the network, and HF_ENDPOINT if it is set.",
        )

    def _line(self, text: str) -> str:
        """Return what a server or library says as one line, without the token."""
        hidden = text.replace(self.token, "(token)") if self.token else text
        return " ".join(hidden.split())[:_LONGEST]


def connect(*, to_write: bool = False) -> Hub:
    """Return a connection; nothing is sent yet. Who wants `to_write` must have logged in.

    Raises:
        UsageError: huggingface_hub is not installed, or a token is needed and is missing or
            malformed.
    """
    require("hub", "the Hugging Face hub", "huggingface_hub")
    from huggingface_hub import HfApi

    token = _token()
    if to_write and token is None:
        raise UsageError("to upload a model, the Hugging Face hub wants a token", hint=LOG_IN)
    # To read, huggingface_hub decides whether to send it: a setting of its own forbids that.
    sent = token if to_write else None
    return Hub(HfApi(token=sent, library_name="npdraw", library_version=__version__), token)


def _token() -> str | None:
    """Return the token that huggingface_hub knows, None without a login."""
    from httpx2 import HTTPError
    from huggingface_hub import get_token
    from huggingface_hub.errors import OIDCError

    try:
        token = get_token()
    except (OSError, ValueError, HTTPError, OIDCError) as error:
        raise UsageError(
            f"the token for the Hugging Face hub cannot be read: {type(error).__name__}",
            hint=LOG_IN,
        ) from error
    # Anything else would fail while a header is written, with the token in the message.
    if token and not re.fullmatch(r"[!-~]+", token):
        raise UsageError(
            "the token for the Hugging Face hub has characters that no token has", hint=LOG_IN
        )
    return token
