"""``drtool status``."""

from __future__ import annotations

from pathlib import Path

import click

from drtool.cli.answer import answer
from drtool.cli.settings import Settings, command
from drtool.cli.wiring import open_estate, open_outside
from drtool.flows.assess import assess
from drtool.render import machine


@command("drtool status --html /var/www/status/index.html")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write the status as a web page.")
def status(settings: Settings, html: Path | None) -> int:
    """Show how fresh every dataset is in every copy, and whether the policies are kept.

    Ends with 21 when a policy is violated, or when it cannot be told.
    """
    estate = open_estate(settings)
    with open_outside(settings, estate, reads=True) as outside:
        found = assess(estate, outside)
    if html:
        from drtool.render.page import write_status_page

        write_status_page(found, html, locale=estate.locale)
    answer(
        settings,
        lambda: machine.status_document(found),
        lambda words: words.show_status(found),
        good=not found.violated,
    )
    return 21 if found.violated else 0
