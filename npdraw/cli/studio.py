"""`npdraw studio`."""

from collections.abc import Mapping
from typing import Any

from npdraw.cli import console, options, resolve
from npdraw.extras import require
from npdraw.runtime.reporting import reporting


def studio(
    model: options.NamedModel,
    *,
    data_root: options.DataRoot = None,
    port: options.Port = 0,
    no_browser: options.NoBrowser = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Open a page to draw with a model: move parts and watch the image change.

    It is served on 127.0.0.1 only, until Ctrl-C. The URL holds a secret: whoever has it can draw.

    Examples:

        npdraw studio omniglot
        npdraw studio runs/glyphs/model.safetensors --port 8080 --no-browser
    """
    require("studio", "npdraw studio", "starlette", "uvicorn")
    path = resolve.artifact("model", model, resolve.folder(model, None), quiet=quiet)

    from npdraw.datasets import default_root
    from npdraw.runtime.settings import Runtime
    from npdraw.studio.server import studio as stage

    with reporting(quiet=quiet) as reporter:

        def ready(result: Mapping[str, Any]) -> None:
            console.show("studio", result, as_json=as_json, lines=[result["url"]])
            reporter.note("Ctrl-C ends the studio.")

        stage(
            path,
            port=port,
            browser=not no_browser,
            root=data_root or default_root(),
            runtime=Runtime(device=device, precision=precision, threads=threads),
            ready=ready,
        )
