"""Runbooks and the restart concept as files for the safe."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from drtool.adapters.files import NewFile, put
from drtool.documents.estate import Estate
from drtool.documents.loader import Procedure
from drtool.documents.register import Register
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import Runbook
from drtool.errors import UsageError
from drtool.flows.lay_out import lay_out_concept, lay_out_runbook, site_of
from drtool.render.booklet import concept_html, pdf, runbook_html

KINDS = (".pdf", ".html")


def put_on_paper(
    documents: Iterable[Runbook | RestartConcept],
    procedures: tuple[Procedure, ...],
    register: Register,
    estate: Estate,
    output: Path,
) -> tuple[Path, ...]:
    """One document as the file that ``output`` names; else each as HTML and PDF in the folder that it names.

    Raises ``ProgramMissing`` where PDF cannot be made, ``UsageError`` for several documents in one file.
    """
    chosen = tuple(documents)
    if output.suffix in KINDS and len(chosen) != 1:
        raise UsageError(f"{len(chosen)} documents do not go into one file", hint="name one, or give --output FOLDER")
    runbooks = {one.id: one.document for one in procedures if isinstance(one.document, Runbook)}
    files: dict[Path, NewFile] = {}
    for document in chosen:
        page = _page(document, register, estate, runbooks)
        name = document.runbook if isinstance(document, Runbook) else document.restart_concept
        for path in (output,) if output.suffix in KINDS else tuple(output / f"{name}{kind}" for kind in KINDS):
            files[path] = NewFile(content=pdf(page) if path.suffix == ".pdf" else page.encode(), mode=0o600)
    put(files, replace=True, folder_mode=0o700)
    return tuple(files)


def _page(document: Runbook | RestartConcept, register: Register, estate: Estate, runbooks: dict[str, Runbook]) -> str:
    today, site = date.today(), site_of(estate)
    if isinstance(document, RestartConcept):
        concept = lay_out_concept(document, register, site=site, runbooks=runbooks)
        return concept_html(concept, printed=today, locale=estate.locale)
    runbook = lay_out_runbook(document, register, site=site, runbooks=runbooks)
    return runbook_html(runbook, printed=today, locale=estate.locale)
