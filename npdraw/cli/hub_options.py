"""The flags and arguments about repositories on the Hugging Face hub."""

from typing import Annotated

from npdraw.cli.declare import argument, option
from npdraw.cli.options import OUTPUT, RUN

Repository = Annotated[
    str, argument("OWNER/NAME", "repository on the Hugging Face hub; created if it does not exist")
]
Private = Annotated[
    bool, option("--private", OUTPUT, "create the repository as a private one, not for everybody")
]
CardOnly = Annotated[bool, option("--dry-run", RUN, "print the model card; upload nothing")]
ReplaceFiles = Annotated[
    bool, option("--force", RUN, "replace another model or card in the repository")
]
