"""What runs of runbooks share: the outside, the documents, and the person before them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from drtool.core.ports import Console, Hosts, Journals, Messages, Patience, Probes
from drtool.documents.estate import Estate, Secret
from drtool.documents.loader import Procedure
from drtool.documents.register import Register
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import Runbook
from drtool.errors import DocumentInvalid, UsageError
from drtool.flows.outside import Outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """``mode`` is real or drill. ``own`` is held while a flow of drtool's own works: they are not made to overlap."""

    outside: Outside
    estate: Estate
    register: Register
    procedures: tuple[Procedure, ...]
    hosts: Hosts
    probes: Probes
    messages: Messages
    journals: Journals
    console: Console
    again: Patience
    secret: Callable[[Secret], bytes]
    mode: str = "real"
    own: threading.Lock = field(default_factory=threading.Lock)

    def in_mode(self, mode: str) -> Recovery:
        return replace(self, mode=mode)

    def runbook(self, name: str) -> Runbook:
        """A runbook by its id. Raises ``DocumentInvalid`` where it has mistakes, ``UsageError`` where there is none."""
        document = document_named(self.procedures, name)
        if not isinstance(document, Runbook):
            raise UsageError(f"{name} is the restart concept", hint="drtool restart")
        return document

    def concept(self) -> RestartConcept:
        """The restart concept; there is one."""
        found = [one for one in self.procedures if one.problems or isinstance(one.document, RestartConcept)]
        whole = [one.document for one in found if isinstance(one.document, RestartConcept)]
        if len(whole) == 1:
            return whole[0]
        if not whole and found:
            raise DocumentInvalid(tuple(problem for one in found for problem in one.problems), hint="drtool validate")
        what = "no restart concept" if not whole else f"{len(whole)} restart concepts"
        raise UsageError(f"there is {what} among the runbooks", hint="drtool runbook list")


def document_named(procedures: Iterable[Procedure], name: str) -> Runbook | RestartConcept:
    """A document by its id. Raises ``DocumentInvalid`` where it has mistakes, ``UsageError`` where it is not one."""
    found = [one for one in procedures if one.id == name]
    if len(found) != 1:
        raise UsageError(f"there is no runbook {name}" if not found else f"several runbooks have the id {name}",
                         hint="drtool runbook list")  # fmt: skip
    if found[0].document is None:
        raise DocumentInvalid(found[0].problems, hint=f"correct {found[0].path}, then run: drtool runbook lint")
    return found[0].document
