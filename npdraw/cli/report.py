"""`npdraw report`."""

from npdraw.cli import console, options, resolve


def report(
    runs: options.Runs = None,
    *,
    data: options.FindData = None,
    preset: options.FindPreset = None,
    data_root: options.DataRoot = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    threads: options.Threads = 0,
    force: options.Force = False,
    out: options.OutPage = None,
    as_json: options.AsJson = False,
) -> None:
    """Write an HTML report of one run, or of several side by side: curves, pictures, metrics.

    Examples:

        npdraw report runs/glyphs
        npdraw report runs/glyphs runs/quick --out runs/both.html
    """
    paths = resolve.runs(runs, preset, data)

    from npdraw.datasets import default_root
    from npdraw.report import report as stage
    from npdraw.runtime.settings import Runtime

    result = stage(
        paths,
        root=data_root or default_root(),
        out=out or resolve.run_folder(paths[0]) / "report.html",
        runtime=Runtime(device=device, precision=precision, threads=threads, force=force),
    )
    console.show("report", result, as_json=as_json)
