"""Exit codes and hints (docs/interface.md: 0 fine, 1 our bug, 2 usage, 3 artifact, ...)."""

import signal
import traceback

import pytest

from npdraw import errors
from npdraw.errors import NpdrawError, StoppedError, did_you_mean, is_out_of_memory


@pytest.mark.parametrize(
    ("name", "code", "exit_code"),
    [
        ("NpdrawError", "error", 1),
        ("UsageError", "usage", 2),
        ("ArtifactError", "artifact", 3),
        ("DataError", "data", 4),
        ("ResourceError", "resources", 5),
        ("DivergedError", "diverged", 6),
        ("BusyError", "busy", 7),
        ("StoppedError", "stopped", 130),
    ],
)
def test_each_error_has_its_code_message_and_hint(name: str, code: str, exit_code: int) -> None:
    error = getattr(errors, name)("what went wrong", hint="what to do")
    assert isinstance(error, NpdrawError)
    assert (error.code, error.exit_code) == (code, exit_code)
    assert (error.message, error.hint, str(error)) == (
        "what went wrong",
        "what to do",
        "what went wrong",
    )


def test_codes_and_exit_codes_are_distinct() -> None:
    # Other modules may have kinds of their own, such as the command line's bug.
    kinds = [k for k in NpdrawError.__subclasses__() if k.__module__ == NpdrawError.__module__]
    kinds.append(NpdrawError)
    assert len({kind.code for kind in kinds}) == len(kinds) == 8
    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def test_a_hint_is_optional_and_shown_in_tracebacks() -> None:
    plain, hinted = NpdrawError("message"), NpdrawError("message", hint="Use --force.")
    assert plain.hint == ""
    shown = ["".join(traceback.format_exception(error)) for error in (plain, hinted)]
    assert shown[1] == shown[0] + "Hint: Use --force.\n"


def test_stopping_exits_as_the_shell_expects_of_the_signal() -> None:
    assert StoppedError("stopped", signal_number=signal.SIGINT).exit_code == 130
    assert StoppedError("stopped", signal_number=signal.SIGTERM).exit_code == 143


def test_memory_may_end_while_a_library_is_loaded() -> None:
    assert is_out_of_memory(ImportError("x.so: failed to map segment from shared object"))
    assert not is_out_of_memory(ImportError("No module named 'x'"))


def test_the_nearest_name_is_suggested_and_all_are_listed_in_order() -> None:
    assert did_you_mean("glyph", ["mnist", "glyphs"]) == (
        "Did you mean 'glyphs'? Known: glyphs, mnist."
    )


def test_numbers_in_names_are_listed_by_their_value() -> None:
    assert did_you_mean("?", ["10", "9", "b10", "b2"]) == "Known: 9, 10, b2, b10."


def test_nothing_is_suggested_when_nothing_is_near() -> None:
    assert did_you_mean("zzz", ["mnist", "glyphs"]) == "Known: glyphs, mnist."
