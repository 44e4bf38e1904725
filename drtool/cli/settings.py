"""The options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which estate, which state folder, and how to speak."""

    config: Path | None = None
    state: Path | None = None
    as_json: bool = False
    quiet: bool = False

    def given(self, options: Mapping[str, Any]) -> Settings:
        """With what was given on the command line; what was not keeps its value."""
        return replace(self, **{name: value for name, value in options.items() if value})


_FILE, _FOLDER = click.Path(path_type=Path), click.Path(path_type=Path, file_okay=False)
SHARED_OPTIONS = (
    click.Option(
        ["--config"], type=_FILE, help="The estate (else DRTOOL_CONFIG, ./drtool.yaml, /etc/drtool/drtool.yaml)."
    ),
    click.Option(["--state"], type=_FOLDER, help="The state folder (else DRTOOL_STATE)."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document on stdout."),
    click.Option(["--quiet"], is_flag=True, help="Say nothing on success."),
)
NAMES = tuple(option.name for option in SHARED_OPTIONS if option.name)


class Command(click.Command):
    """A command with the shared options. Its function gets the settings as first argument."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or []), *SHARED_OPTIONS]
        if example:
            kwargs["epilog"] = f"Example: {example}"
        super().__init__(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        given = {name: ctx.params.pop(name) for name in NAMES}
        ctx.obj = (ctx.obj or Settings()).given(given)
        return super().invoke(ctx)


def command(example: str, **kwargs: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command whose help ends with an example."""

    def make(function: Callable[..., Any]) -> click.Command:
        return click.command(cls=Command, example=example, **kwargs)(click.pass_obj(function))

    return make
