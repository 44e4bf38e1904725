"""What lint asks of the restart concept: the checkable list of contents W1-W20 in docs/restart-concept.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import pairwise

from drtool.core.placeholders import ALWAYS, names_in
from drtool.core.plan import critical_path, cycles
from drtool.core.rules import in_words
from drtool.documents.part import nearest, quoted
from drtool.documents.restart_concept import RestartConcept, RestartSystem
from drtool.documents.tree import Steps
from drtool.flows.lint_released import (
    Around,
    Flaw,
    deputy_flaws,
    error,
    given_flaws,
    missing_params,
    role_flaws,
    unknown,
    warning,
)
from drtool.flows.lint_runbook import Book, probe_flaws, strings
from drtool.flows.order import systems_of
from drtool.flows.restart import EVENT, as_runbook

QUARTER = timedelta(days=92)
_BACKUP = re.compile(r"backup|back up|sicherung", re.IGNORECASE)
_OFFLINE = re.compile(
    r"paper|papier|print|druck|ausdruck|stick|usb|\bcd\b|dvd|dis[ck]|platte|karte|\bcard|ordner|folder|offline",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]*")


def concept_flaws(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    """Everything that is wrong with a restart concept as such."""
    for check in _OF_ALL:
        yield from check(concept, around)
    for name, system in concept.systems.items():
        for check_system in _OF_EACH:
            yield from check_system(concept, around, system, ("systems", name))


# People


def _activation(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    for place, role in enumerate(concept.activation.declared_by):
        yield from role_flaws(role, ("activation", "declared_by", place), around)
    yield from role_flaws(concept.return_to_normal.approval, ("return_to_normal", "approval"), around)


def _roles(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    told: set[str] = set()
    for place, role in enumerate(concept.roles):
        yield from deputy_flaws(role, ("roles", place), around)
        held = around.register.roles.get(role)
        for name in (held.person, held.deputy) if held else ():
            if name and name not in told and len(set(around.register.people[name].phones)) < 2:
                told.add(name)
                yield warning(("roles", place), f"'{name}' has only one phone number in the register; add another")


def _alarms(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    chain = concept.alarm_chain
    for place, alarm in enumerate(chain):
        yield from role_flaws(alarm.role, ("alarm_chain", place, "role"), around)
    for place, (earlier, later) in enumerate(pairwise(chain), start=1):
        if later.within < earlier.within:
            yield error(("alarm_chain", place, "within"), "told sooner than the one before; put the chain in order")
    if len({way for alarm in chain for way in alarm.via}) < 2:
        yield error(("alarm_chain",), "the alarm chain has only one way to reach people; add another to 'via'")
    if not any(alarm.out_of_band for alarm in chain):
        message = "no link of the alarm chain works without our own systems; add 'out_of_band: true' where one does"
        yield error(("alarm_chain",), message)
    for place, alarm in enumerate(chain):
        people = around.register.people_of(alarm.role)
        if alarm.out_of_band and people and not any(person.out_of_band for person in people):
            message = f"nobody with the role '{alarm.role}' has a way out of band in the register; add 'out_of_band'"
            yield error(("alarm_chain", place, "out_of_band"), message)


def _contacts(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    for place, name in enumerate(concept.contacts):
        yield from unknown("contact", name, around.register.contacts, "the register", ("contacts", place))
        contact = around.register.contacts.get(name)
        if contact and not (contact.phones or contact.mail or contact.portal):
            yield warning(("contacts", place), f"nothing says how to reach '{name}'; add phones, mail or portal")


# What is needed around the systems


def _bootstrap(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    systems = {*concept.systems, *around.register.hosts}
    for place, item in enumerate(concept.bootstrap):
        at: Steps = ("bootstrap", place)
        if len(set(item.where)) < 2:
            yield error((*at, "where"), f"{quoted(item.item)} is kept in one place only; keep it in a second")
        if all(systems.intersection(_WORD.findall(where.lower())) for where in item.where):
            message = f"{quoted(item.item)} is kept only on what it is needed to restore; keep it elsewhere, too"
            yield error((*at, "where"), message)
        yield from _looked_at(item.checked, around.today, (*at, "checked"), item.item)


def _looked_at(checked: date, today: date, at: Steps, item: str) -> Iterator[Flaw]:
    if checked > today:
        yield error(at, f"{quoted(item)} is checked in the future; correct the day")
    elif checked < today - QUARTER:
        days = (today - checked).days
        yield error(at, f"{quoted(item)} was last checked {days} days ago; look at it now, then note the day")


def _resources(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    for place, resource in enumerate(concept.resources):
        for index, name in enumerate(resource.serves):
            yield from unknown("system", name, concept.systems, "this plan", ("resources", place, "serves", index))
    ready = {name for resource in concept.resources if resource.ready for name in resource.serves}
    if not ready:
        yield error(("resources",), "nothing that could stand in is ready; make one ready and note 'ready: true'")
        return
    soonest = min(system.objectives.rto for system in concept.systems.values())
    for name, system in concept.systems.items():
        if system.objectives.rto == soonest and name not in ready:
            message = f"nothing that is ready can carry '{name}', which is needed first; name it at 'serves'"
            yield warning(("resources",), message)


def _normal(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    if not any(_BACKUP.search(step) for step in concept.return_to_normal.steps):
        message = "the return to normal does not end with a fresh backup; add it as the last step"
        yield error(("return_to_normal", "steps"), message)


def _exercises(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    exercises = concept.exercises
    for key, last, every in (
        ("last_table_top", exercises.last_table_top, exercises.table_top),
        ("last_full", exercises.last_full, exercises.full),
    ):
        at: Steps = ("exercises", key)
        if last is None:
            yield warning(at, f"never done yet; do it, then note the day at '{key}'")
        elif last > around.today:
            yield error(at, "dated in the future; correct the day")
        elif last + every < around.today:
            yield error(at, f"last done on {last}, more than {in_words(every)} ago; do it, then note the day")
    if exercises.by_third_party is None:
        message = "nobody who did not write it has followed it; have it tried, then note the day at 'by_third_party'"
        yield warning(("exercises", "by_third_party"), message)


def _distribution(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    revision = concept.revision
    for place, holder in enumerate(concept.distribution):
        if holder.revision != revision:
            message = (
                f"{quoted(holder.holder)} has revision {holder.revision}, not {revision}; hand out the present one"
            )
            yield warning(("distribution", place, "revision"), message)
    offline = [one for one in concept.distribution if _OFFLINE.search(one.form) and one.revision == revision]
    if len({one.holder for one in offline}) < 2:
        message = f"fewer than 2 offline copies (paper, a stick) hold revision {revision}; hand out another"
        yield error(("distribution",), message)


def _proof(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    """What is looked at in the end; a concept has no parameters of its own."""
    if not concept.verify:
        yield warning((), "nothing shows from outside that all runs again; add probes at 'verify'")
    book = Book(runbook=as_runbook(concept, "en"), around=around)
    for place, probe in enumerate(concept.verify):
        yield from probe_flaws(probe, ("verify", place), book)
    given = {name: system.params for name, system in concept.systems.items()}
    for steps, text in (*strings(concept.verify, ("verify",)), *strings(given, ("systems",))):
        for name in names_in(text):
            if name not in ALWAYS:
                where = steps if steps[0] == "verify" else (*steps[:2], "params", *steps[2:])
                yield error(where, f"a restart concept has no parameter {quoted(name)}; write the value itself")


def _clocks(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    for place, clock in enumerate(concept.clocks):
        if clock.start != EVENT:
            message = f"nothing in a restart starts {quoted(clock.start)}; only {EVENT} is asked for"
            yield error(("clocks", place, "start"), message)


# Systems


def _rings(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    for ring in cycles(systems_of(concept)):
        message = f"systems wait for one another: {' -> '.join((*ring, ring[0]))}; take one out of 'depends'"
        yield error(("systems", ring[0], "depends"), message)


def _datasets(concept: RestartConcept, around: Around) -> Iterator[Flaw]:
    carried = {name for system in concept.systems.values() for name in system.datasets}
    for name in around.estate.datasets if around.estate else ():
        if name not in carried:
            yield error(("systems",), f"no system carries the dataset '{name}' of the estate; add it at 'datasets'")


def _of_system(concept: RestartConcept, around: Around, system: RestartSystem, at: Steps) -> Iterator[Flaw]:
    yield from deputy_flaws(system.owner, (*at, "owner"), around)
    for place, name in enumerate(system.datasets if around.estate else ()):
        assert around.estate
        yield from unknown("dataset", name, around.estate.datasets, "the estate", (*at, "datasets", place))


def _depends(concept: RestartConcept, around: Around, system: RestartSystem, at: Steps) -> Iterator[Flaw]:
    for place, name in enumerate(system.depends):
        other = concept.systems.get(name)
        if other is None:
            message = f"the system {quoted(name)} is not in this plan{nearest(name, concept.systems)}; add it"
            yield error((*at, "depends", place), message)
        elif other.objectives.rto > system.objectives.rto:
            longer, own = in_words(other.objectives.rto), in_words(system.objectives.rto)
            message = f"'{name}' may take {longer}, longer than the {own} of what needs it; shorten its rto"
            yield error((*at, "depends", place), message)


def _objectives(concept: RestartConcept, around: Around, system: RestartSystem, at: Steps) -> Iterator[Flaw]:
    objectives = system.objectives
    rto, mtpd = objectives.rto, objectives.mtpd
    if mtpd is None:
        yield error((*at, "objectives"), "nothing says how long it can be borne to be missing; add 'mtpd'")
    elif rto > mtpd:
        message = f"the rto of {in_words(rto)} is longer than the mtpd of {in_words(mtpd)}; recover sooner"
        yield error((*at, "objectives", "rto"), message)
    if objectives.rpo is None and system.datasets:
        yield error((*at, "objectives"), "it carries data, but nothing says how much may be lost; add 'rpo'")
    path = critical_path(systems_of(concept), str(at[-1]))
    if path.length > rto:
        parts = ", ".join(f"{name} {in_words(concept.systems[name].planned)}" for name in path.names)
        message = f"it runs again after {in_words(path.length)} at best, later than its rto of {in_words(rto)}: {parts}"
        yield error((*at, "objectives", "rto"), f"{message}; shorten one or raise the rto")


def _runbook(concept: RestartConcept, around: Around, system: RestartSystem, at: Steps) -> Iterator[Flaw]:
    known = (*around.runbooks, *around.broken)
    yield from unknown("runbook", system.runbook, known, "the folder of runbooks", (*at, "runbook"))
    runbook = around.runbooks.get(system.runbook)
    if runbook:
        yield from given_flaws(runbook, system.params, (*at, "params"), around)
        for param in missing_params(runbook, system.params, around):
            message = f"nothing gives '{param}' of the runbook '{system.runbook}' a value; give it at 'params'"
            yield error((*at, "runbook"), message)


_OF_ALL: tuple[Callable[[RestartConcept, Around], Iterator[Flaw]], ...] = (
    _activation,
    _roles,
    _alarms,
    _contacts,
    _bootstrap,
    _rings,
    _datasets,
    _resources,
    _normal,
    _exercises,
    _distribution,
    _proof,
    _clocks,
)
_OF_EACH: tuple[Callable[[RestartConcept, Around, RestartSystem, Steps], Iterator[Flaw]], ...] = (
    _of_system,
    _depends,
    _objectives,
    _runbook,
)
