"""`npdraw push`."""

from npdraw.cli import console, hub_options, options, resolve
from npdraw.extras import require
from npdraw.hub import repository as parse_repository
from npdraw.runtime.reporting import reporting


def push(
    *,
    model: options.NamedModel,
    repository: hub_options.Repository,
    dry_run: hub_options.CardOnly = False,
    force: hub_options.ReplaceFiles = False,
    private: hub_options.Private = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Share a model: upload it to the Hugging Face hub, with a card that describes it.

    Others then use it as hf:OWNER/NAME wherever a command takes a model.

    Examples:

        npdraw push mnist my-name/digits --dry-run
        npdraw push glyphs my-name/glyphs --private
    """
    target = parse_repository(repository)
    if not dry_run:
        require("hub", "npdraw push", "huggingface_hub")
    path = resolve.artifact("model", model, resolve.folder(model, None), quiet=quiet)

    from npdraw.stages.push import push as stage

    with reporting(quiet=quiet) as reporter:
        result = stage(
            path,
            target,
            private=private,
            force=force,
            dry_run=dry_run,
            progress=reporter,
        )
    console.show(
        "push", result, as_json=as_json, lines=[result["card"].rstrip()] if dry_run else None
    )
