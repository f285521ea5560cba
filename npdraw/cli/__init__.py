"""The command line: options -> settings -> one stage -> report.

Each command imports its stage inside its function, so that `--help`, `--version`, `info` and shell
completion never wait for torch.
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from inspect import cleandoc
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from npdraw.cli import console, data, failures
from npdraw.cli.animate import animate
from npdraw.cli.classify import classify
from npdraw.cli.complete import complete
from npdraw.cli.declare import escape_markup
from npdraw.cli.decode import decode
from npdraw.cli.edit import edit
from npdraw.cli.eval_nll import eval_nll
from npdraw.cli.eval_samples import eval_samples
from npdraw.cli.export import export
from npdraw.cli.info import info
from npdraw.cli.interpolate import interpolate
from npdraw.cli.parse import parse
from npdraw.cli.push import push
from npdraw.cli.reconstruct import reconstruct
from npdraw.cli.report import report
from npdraw.cli.run import run
from npdraw.cli.sample import sample
from npdraw.cli.studio import studio
from npdraw.cli.train_classes import train_classes
from npdraw.cli.train_decoder import train_decoder
from npdraw.cli.train_features import train_features
from npdraw.cli.train_prior import train_prior
from npdraw.errors import STOPPING, Terminated
from npdraw.runtime.group import environment
from npdraw.version import __version__


def _help(described: object) -> str:
    return escape_markup(cleandoc(described.__doc__ or ""))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"npdraw {__version__}")
        raise typer.Exit


def _npdraw(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Learn to draw images part by part, and draw new ones (NP-DRAW).

    Examples:

        npdraw run --limit 500 --steps 10 --samples 5 --images 100 --out runs/quick
        npdraw info runs/quick/model.safetensors
    """


PIPELINE, DRAWINGS, OTHER = (
    "The pipeline, in this order",
    "Drawings: view, complete and edit",
    "Whole runs, models and data",
)

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
app.callback(help=_help(_npdraw))(_npdraw)
app.command("parse", help=_help(parse), rich_help_panel=PIPELINE)(parse)
app.command("train-prior", help=_help(train_prior), rich_help_panel=PIPELINE)(train_prior)
app.command("train-decoder", help=_help(train_decoder), rich_help_panel=PIPELINE)(train_decoder)
app.command("eval-nll", help=_help(eval_nll), rich_help_panel=PIPELINE)(eval_nll)
app.command("sample", help=_help(sample), rich_help_panel=PIPELINE)(sample)
for _command in (animate, reconstruct, classify, complete, edit, decode, interpolate, studio):
    _named = app.command(_command.__name__, help=_help(_command), rich_help_panel=DRAWINGS)
    _named(_command)
app.command("run", help=_help(run), rich_help_panel=OTHER)(run)
app.command("train-classes", help=_help(train_classes), rich_help_panel=OTHER)(train_classes)
app.command("eval-samples", help=_help(eval_samples), rich_help_panel=OTHER)(eval_samples)
app.command("train-features", help=_help(train_features), rich_help_panel=OTHER)(train_features)
app.command("report", help=_help(report), rich_help_panel=OTHER)(report)
app.command("export", help=_help(export), rich_help_panel=OTHER)(export)
app.command("push", help=_help(push), rich_help_panel=OTHER)(push)
app.command("info", help=_help(info), rich_help_panel=OTHER)(info)

data_app = typer.Typer(rich_markup_mode="rich")
data_app.command("ls", help=_help(data.ls))(data.ls)
data_app.command("look", help=_help(data.look))(data.look)
data_app.command("download", help=_help(data.download))(data.download)
data_app.command("doctor", help=_help(data.doctor))(data.doctor)
app.add_typer(data_app, name="data", help=_help(data), rich_help_panel=OTHER)


def main() -> NoReturn:
    """Run the command that the process was started with and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        # File names may hold any bytes, and terminals may lack characters: escape, do not fail.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = execute(sys.argv[1:])
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # the result is printed; nothing is left to stop
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a closed pipe: nobody reads the output
            stream.flush()
    # Nothing is left to do, and Python's own shutdown takes time: unloading torch's modules takes
    # half a second (LOG.md, 2026-11-26), and with the threads of torch.distributed running half of
    # the processes aborted.
    os._exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Run one command; print its result or its error; return the exit code."""
    if environment().is_rank_zero:
        return _execute(arguments)
    # Only rank zero prints results.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return _execute(arguments)


def _execute(arguments: Sequence[str]) -> int:
    names, rest = ["npdraw"], list(arguments)
    try:
        # The names of commands are looked up here because typer's groups load pydantic to parse
        # their own options: `npdraw parse --help` takes 0.23 s of CPU, with pydantic 0.35 s.
        command: Any = typer.main.get_command(app)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest[0]]
            names.append(rest.pop(0))
        if names == ["npdraw"] and not rest:
            rest = ["--help"]
        failures.check_one_process(names)
        code = command(rest, prog_name=" ".join(names), standalone_mode=False)
        if code != 130:
            return int(code or 0)
        caught: BaseException = KeyboardInterrupt()  # which typer turns into this code
    except SystemExit as stop:
        # Typer exits like this when its output is a closed pipe, and after shell completion.
        return 0 if isinstance(stop.__context__, BrokenPipeError) else int(stop.code or 0)
    except (Exception, KeyboardInterrupt, Terminated) as raised:
        caught = raised
    if os.environ.get("NPDRAW_DEBUG"):
        traceback.print_exception(caught)
    name = " ".join(names[1:] or rest[:1])
    error = failures.explain(caught, name, arguments)
    if failures.should_report(error):
        with suppress(OSError):  # a closed pipe, a full disk, a closed terminal
            console.show_error(name, error, as_json="--json" in arguments)
    return error.exit_code
