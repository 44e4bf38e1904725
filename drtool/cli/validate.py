"""``drtool validate``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.documents.loader import check_document, check_estate, find_estate
from drtool.errors import DocumentInvalid


@command("drtool validate drtool.yaml policies/two-copies.yaml")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def validate(settings: Settings, files: tuple[Path, ...]) -> int:
    """Check documents, and list every mistake with its place.

    Without a name: the estate with its policies, its register and its runbooks.
    """
    checked, problems = files, tuple(problem for file in files for problem in check_document(file))
    if not files:
        checked, problems = check_estate(find_estate(settings.config, os.environ))
    if problems and not settings.as_json:
        raise DocumentInvalid(problems)
    named = ", ".join(map(str, files)) or f"{checked[0]} and the {len(checked) - 1} documents that it names"
    words = f"{named}: no mistakes"
    answer(
        settings,
        lambda: {"files": [str(file) for file in checked], "problems": list(problems)},
        lambda terminal: terminal.say(words),
    )
    return 20 if problems else 0
