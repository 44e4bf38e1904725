"""How a command answers: one JSON document, or words for a person, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import click

from drtool.cli.settings import Settings


def answer(
    settings: Settings, document: Callable[[], Any], words: Callable[[ModuleType], None], *, good: bool = True
) -> None:
    """With ``--json`` the document, else the words; with ``--quiet`` words only when something is not good.

    ``words`` gets ``drtool.render.terminal``, which is only loaded for them.
    """
    if settings.as_json:
        click.echo(json.dumps(document(), indent=2, ensure_ascii=False))
    elif not (settings.quiet and good):
        from drtool.render import terminal

        words(terminal)
