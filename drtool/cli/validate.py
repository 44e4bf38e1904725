"""``drtool validate``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.documents.loader import check_document, find_estate
from drtool.errors import DocumentInvalid


@command("drtool validate drtool.yaml policies/two-copies.yaml")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def validate(settings: Settings, files: tuple[Path, ...]) -> int:
    """Check documents, and list every mistake with its place. Without a name: the estate and its policies."""
    checked = files or (find_estate(settings.config, os.environ),)
    problems = tuple(problem for file in checked for problem in check_document(file))
    if problems and not settings.as_json:
        raise DocumentInvalid(problems)
    words = f"{', '.join(map(str, checked))}: no mistakes"
    answer(
        settings,
        lambda: {"files": [str(file) for file in checked], "problems": list(problems)},
        lambda terminal: terminal.say(words),
    )
    return 20 if problems else 0
