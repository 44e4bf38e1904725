"""From documents to what stands on paper: parameters filled in, commands written so that a person can type them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from drtool.core import booklet
from drtool.core.booklet import BLANK, Fact, Look, RunbookOnPaper, StepOnPaper
from drtool.core.placeholders import filled
from drtool.core.plan import finishes, tiers
from drtool.documents.estate import Estate, Secret
from drtool.documents.probe import (
    CommandProbe,
    CopiesProbe,
    DiskProbe,
    DnsProbe,
    FileProbe,
    HttpProbe,
    Probe,
    ProcessProbe,
    ServiceProbe,
    Sha256Probe,
    SqlProbe,
    TcpProbe,
    TlsProbe,
)
from drtool.documents.register import Person, Register, ServiceCommands
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import (
    Answer,
    ApproveStep,
    BackupStep,
    DecideStep,
    EvidenceStep,
    ExecStep,
    HoldStep,
    ManualStep,
    NotifyStep,
    ProbeStep,
    Question,
    ReleasedDocument,
    RestoreStep,
    Runbook,
    RunbookStep,
    ScriptStep,
    ServiceStep,
    Step,
    WaitStep,
)
from drtool.flows.order import needs_of, planned_time, steps_of, systems_of
from drtool.flows.restart import as_runbook

_SNAPSHOT_ID = re.compile(r"[0-9a-f]{6,64}")


def lay_out_runbook(
    runbook: Runbook, register: Register, *, site: str = "", runbooks: Mapping[str, Runbook] | None = None
) -> RunbookOnPaper:
    """A runbook as it is printed; ``runbooks`` gives the titles of those that it runs."""
    paper = _Paper(runbook=runbook, register=register, site=site, runbooks=runbooks or {})
    steps = paper.steps()
    last = max((step.number for step in steps if step.phase != "aftercare"), default=0)
    told = (*_roles_of(runbook), *_told(runbook))
    return RunbookOnPaper(
        head=_head(runbook, runbook.runbook, register, site),
        trigger=paper.fill(runbook.trigger or ""),
        rto=runbook.objectives.rto,
        rpo=runbook.objectives.rpo,
        mtpd=runbook.objectives.mtpd,
        executor=runbook.executor,
        immediate=paper.fill_all(runbook.immediate or ()),
        roles=_roles(told, register),
        contacts=_contacts(told, register),
        deadlines=paper.deadlines(),
        params=tuple(paper.params()),
        detect_all=bool(runbook.detect and runbook.detect.all),
        detect=paper.looks(runbook.detect.probes if runbook.detect else ()),
        steps=steps[:last],
        aftercare=steps[last:],
        escalation=tuple(
            booklet.EscalationOnPaper(after=one.after, unless=one.unless, to=paper.called(one.to), via=one.via)
            for one in runbook.escalation
        ),
        data_protection=paper.fill(runbook.data_protection or ""),
    )


def lay_out_concept(
    concept: RestartConcept, register: Register, *, site: str = "", runbooks: Mapping[str, Runbook] | None = None
) -> booklet.ConceptOnPaper:
    """The restart concept as it is printed; ``runbooks`` gives the titles of those that it names."""
    exercises = concept.exercises
    paper = _Paper(runbook=as_runbook(concept, "en"), register=register, site=site, runbooks=runbooks or {})
    told = (*concept.roles, *concept.activation.declared_by, concept.return_to_normal.approval, *concept.contacts)
    return booklet.ConceptOnPaper(
        head=_head(concept, concept.restart_concept, register, site),
        purpose=concept.purpose,
        scope=concept.scope,
        audience=concept.audience,
        criteria=concept.activation.criteria,
        declared_by=concept.activation.declared_by,
        deactivation=concept.activation.deactivation,
        alarm_chain=tuple(
            booklet.AlarmOnPaper(
                role=alarm.role,
                within=alarm.within,
                via=alarm.via,
                out_of_band=alarm.out_of_band,
                people=_people(alarm.role, register),
            )
            for alarm in concept.alarm_chain
        ),
        roles=_roles(told, register),
        contacts=_contacts(told, register),
        bootstrap=tuple(
            booklet.BootstrapOnPaper(item=one.item, where=one.where, checked=one.checked, sealed=one.sealed)
            for one in concept.bootstrap
        ),
        deadlines=paper.deadlines(),
        tiers=_tiers(concept, register, runbooks or {}),
        verify=paper.looks(concept.verify),
        resources=tuple(
            booklet.ResourceOnPaper(item=one.item, where=one.where, serves=one.serves, ready=one.ready)
            for one in concept.resources
        ),
        normal=concept.return_to_normal.steps,
        normal_declared_by=concept.return_to_normal.approval,
        templates=concept.communication.templates,
        update_every=concept.communication.update_every,
        exercises=(
            ("table_top", exercises.table_top),
            ("restore_drill", exercises.restore_drill),
            ("full", exercises.full),
        ),
        exercised=(
            ("table_top", exercises.last_table_top),
            ("full", exercises.last_full),
            ("by_third_party", exercises.by_third_party),
        ),
        distribution=tuple(
            booklet.HolderOnPaper(holder=one.holder, form=one.form, revision=one.revision)
            for one in concept.distribution
        ),
        incident_handling=concept.incident_handling,
    )


def site_of(estate: Estate | None) -> str:
    """The name of the site, where there is an estate."""
    return estate.site if estate else ""


# What both have


def _head(document: ReleasedDocument, name: str, register: Register, site: str) -> booklet.Head:
    return booklet.Head(
        id=name,
        title=document.title,
        title_en=document.title_en or "",
        revision=document.revision,
        digest=document.digest,
        site=site,
        company=register.register_of,
        owner=document.owner,
        approved_by=document.approved.by if document.approved else "",
        approved_on=document.approved.on if document.approved else None,
        review_due=document.review_due,
        basis=document.basis,
    )


def _person(person: Person) -> booklet.Person:
    return booklet.Person(
        name=person.name, phones=person.phones, mail=person.mail or "", out_of_band=person.out_of_band or ""
    )


def _people(role: str, register: Register) -> tuple[booklet.Person, ...]:
    return tuple(_person(person) for person in register.people_of(role))


def _roles(names: Iterable[str], register: Register) -> tuple[booklet.RoleOnPaper, ...]:
    return tuple(
        booklet.RoleOnPaper(role=name, people=_people(name, register))
        for name in dict.fromkeys(names)
        if name not in register.contacts
    )


def _contacts(names: Iterable[str], register: Register) -> tuple[booklet.ContactOnPaper, ...]:
    found = {name: register.contacts[name] for name in names if name in register.contacts}
    return tuple(
        booklet.ContactOnPaper(
            name=one.name,
            phones=one.phones,
            mail=one.mail or "",
            portal=one.portal or "",
            contract=one.contract or "",
            duty=one.duty or "",
        )
        for one in found.values()
    )


def _roles_of(runbook: Runbook) -> Iterator[str]:
    """The roles that act: who runs it, who agrees, who keeps it."""
    yield runbook.executor
    yield from (step.by for step in runbook.steps if isinstance(step, ApproveStep))
    yield runbook.owner


def _told(runbook: Runbook) -> Iterator[str]:
    """Whom a run may have to tell: roles and contacts."""
    yield from (one.to for one in runbook.escalation)
    for step in runbook.steps:
        if isinstance(step, ApproveStep) and step.escalate_to:
            yield step.escalate_to
        yield from step.to if isinstance(step, NotifyStep) else ()


def _tiers(
    concept: RestartConcept, register: Register, runbooks: Mapping[str, Runbook]
) -> tuple[tuple[booklet.SystemOnPaper, ...], ...]:
    graph = systems_of(concept)
    ends = finishes(graph)

    def laid_out(name: str) -> booklet.SystemOnPaper:
        system = concept.systems[name]
        runbook = runbooks.get(system.runbook)
        return booklet.SystemOnPaper(
            id=name,
            title=system.title,
            kind=system.kind,
            depends=system.depends,
            owner=system.owner,
            people=tuple(person.name for person in register.people_of(system.owner)),
            rto=system.objectives.rto,
            rpo=system.objectives.rpo,
            mtpd=system.objectives.mtpd,
            planned=system.planned,
            by=ends[name],
            degraded=system.degraded,
            manual=system.manual,
            runbook=system.runbook,
            runbook_title=runbook.title if runbook else "",
            params=tuple((key, _answer(value)) for key, value in system.params.items()),
            datasets=system.datasets,
        )

    return tuple(tuple(laid_out(name) for name in tier) for tier in tiers(graph))


def _answer(value: Answer) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# The runbook


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paper:
    """Where a runbook's texts are filled in for one site."""

    runbook: Runbook
    register: Register
    site: str
    runbooks: Mapping[str, Runbook]

    def value(self, name: str) -> str:
        """A parameter's value here; room for it where only a run knows it."""
        always = {"site": self.site or BLANK, "runbook": self.runbook.runbook, "run": BLANK, "evidence": BLANK}
        if name in always:
            return always[name]
        param = self.runbook.params.get(name)
        default = _answer(param.default) if param and param.default is not None else BLANK
        return self.register.values.get(name, default)

    def fill(self, text: str) -> str:
        """A text with its parameters put in."""
        return filled(text, self.value)

    def fill_all(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Texts with their parameters put in."""
        return tuple(self.fill(text) for text in texts)

    def typed(self, argv: Sequence[str]) -> str:
        """A command as a person types it into a shell."""
        return shlex.join(self.fill_all(argv))

    def called(self, name: str) -> str:
        """A role, or the name of a contact, as the table of contacts has it."""
        contact = self.register.contacts.get(name)
        return contact.name if contact else name

    def params(self) -> Iterator[booklet.ParamOnPaper]:
        """The parameters with their values; of a secret where it is to be had."""
        for name, param in self.runbook.params.items():
            value = _whereabouts(param.secret) if param.secret else self.value(name)
            yield booklet.ParamOnPaper(name=name, text=param.text or "", value=value)

    def deadlines(self) -> tuple[booklet.Deadline, ...]:
        """The duties with a deadline."""
        return tuple(
            booklet.Deadline(duty=self.fill(clock.duty), start=clock.start, within=clock.deadline)
            for clock in self.runbook.clocks
        )

    # Order

    def steps(self) -> tuple[StepOnPaper, ...]:
        """The steps in an order that keeps all needs and else is the written one; aftercare comes as late as it can."""
        order = self._order()
        numbers = {step.id: number for number, step in enumerate(order, start=1)}
        ends = finishes(steps_of(self.runbook))
        return tuple(self._step(step, numbers, ends.get(step.id, timedelta())) for step in order)

    def _order(self) -> tuple[Step, ...]:
        left = {step.id: set(needs_of(self.runbook, place)) for place, step in enumerate(self.runbook.steps)}
        by_id = {step.id: step for step in self.runbook.steps}
        order: list[Step] = []
        while left:
            free = [name for name, needs in left.items() if not needs & left.keys()] or list(left)
            first = min(free, key=lambda name: by_id[name].phase == "aftercare")
            order.append(by_id[first])
            del left[first]
        return tuple(order)

    def _step(self, step: Step, numbers: Mapping[str, int], by: timedelta) -> StepOnPaper:
        number = numbers[step.id]
        place = self.runbook.steps.index(step)
        after = tuple(sorted(numbers[need] for need in needs_of(self.runbook, place) if need in numbers))
        target = self.fill(getattr(step, "target", None) or "")
        undo = step.undo
        return StepOnPaper(
            number=number,
            id=step.id,
            title=self.fill(step.title),
            kind=step.kind,
            phase=step.phase,
            text=self.fill(step.text or ""),
            who=step.by if isinstance(step, ApproveStep) else self.runbook.executor,
            after=() if after == ((number - 1,) if number > 1 else ()) else after,
            conditions=self._conditions(step.when, numbers),
            effect=step.effect,
            planned=planned_time(step),
            by=by,
            target=target,
            reach=self._reach(target),
            commands=tuple(self._commands(step)),
            facts=tuple(self._facts(step)),
            checklist=self.fill_all(step.checklist) if isinstance(step, ManualStep) else (),
            questions=self._questions(step.ask) if isinstance(step, ManualStep | DecideStep) else (),
            events=tuple((one.event, self._conditions(one.when, numbers)) for one in step.emit)
            if isinstance(step, DecideStep)
            else (),
            approval=self._approval(step) if isinstance(step, ApproveStep) else None,
            message=self.fill(step.message) if isinstance(step, NotifyStep) else "",
            looks=self.looks(_observed(step)),
            check=self._look(step.check) if step.check else None,
            verify=self.looks(step.verify),
            undo=self.typed(undo.argv) if undo and undo.argv else "",
            undo_by_hand=self.fill(undo.manual) if undo and undo.manual else "",
            marks=step.marks or "",
        )

    def _conditions(
        self, when: Mapping[str, Answer | tuple[Answer, ...]], numbers: Mapping[str, int]
    ) -> tuple[booklet.Condition, ...]:
        return tuple(self._condition(key, wanted, numbers) for key, wanted in when.items())

    def _condition(
        self, key: str, wanted: Answer | tuple[Answer, ...], numbers: Mapping[str, int]
    ) -> booklet.Condition:
        asking = (step for step in self.runbook.steps if isinstance(step, DecideStep | ManualStep) and key in step.ask)
        step = next(asking, None)
        return booklet.Condition(
            step=numbers[step.id] if step else 0,
            question=self.fill(step.ask[key].text) if step else key,
            answers=wanted if isinstance(wanted, tuple) else (wanted,),
        )

    def _questions(self, ask: Mapping[str, Question]) -> tuple[booklet.QuestionOnPaper, ...]:
        return tuple(
            booklet.QuestionOnPaper(text=self.fill(one.text), type=one.type, choices=one.values or ())
            for one in ask.values()
        )

    def _approval(self, step: ApproveStep) -> booklet.Approval:
        return booklet.Approval(
            role=step.by,
            people=tuple(person.name for person in self.register.people_of(step.by)),
            min=step.min,
            four_eyes=step.four_eyes,
            show=self.fill_all(step.show),
            escalate_to=self.called(step.escalate_to) if step.escalate_to else "",
            break_glass=step.break_glass,
        )

    # What is done

    def _reach(self, target: str) -> str:
        host = self.register.hosts.get(target)
        if not host or not host.ssh:
            return ""
        ssh = host.ssh
        port = ("-p", str(ssh.port)) if ssh.port != 22 else ()
        identity = ("-i", str(ssh.identity)) if ssh.identity else ()
        known = ("-o", f"UserKnownHostsFile={ssh.known_hosts}")
        return shlex.join(("ssh", *port, *identity, *known, f"{ssh.user}@{ssh.address}"))

    def _commands(self, step: Step) -> Iterator[str]:
        """What a person types instead of drtool's runbook; empty where a person does it anyway."""
        match step:
            case ExecStep():
                yield self._with_env(step.env, self.typed(step.argv))
            case ScriptStep():
                yield shlex.join(("sha256sum", str(step.script)))
                yield self._with_env(step.env, shlex.join((str(step.script), *self.fill_all(step.args))))
            case ServiceStep():
                yield from self._service(self.fill(step.target or ""), self.fill(step.service), step.action)
            case RestoreStep():
                yield self._restore(step)
            case BackupStep():
                yield shlex.join(("drtool", "backup", *self.fill_all(step.datasets)))
            case HoldStep():
                yield from self._hold(step)
            case EvidenceStep():
                yield from self._evidence(step)
            case RunbookStep():
                given = (
                    part for name, value in step.params.items() for part in ("--param", f"{name}={_answer(value)}")
                )
                yield shlex.join(("drtool", "runbook", "run", step.runbook, *self.fill_all(tuple(given))))

    def _with_env(self, env: Mapping[str, str], command: str) -> str:
        return " ".join((*(f"{name}={shlex.quote(self.fill(value))}" for name, value in env.items()), command))

    def _service(self, target: str, service: str, action: str) -> Iterator[str]:
        host = self.register.hosts.get(target)
        known = host.services.get(service) if host else None
        own = _own_commands(known, action) if known else ()
        unit = known.unit if known and known.unit else service
        yield from (self.typed(argv) for argv in own or (("systemctl", action, unit),))

    def _restore(self, step: RestoreStep) -> str:
        snapshot = self.fill(step.snapshot)
        by_id = snapshot == BLANK or _SNAPSHOT_ID.fullmatch(snapshot)
        which = () if snapshot == "latest" else ("--snapshot" if by_id else "--at", snapshot)
        where: tuple[str, ...] = ("--in-place",)
        if step.to or step.into:
            where = ("--to", self.fill(step.to)) if step.to else ("--into", self.fill(step.into or ""))
        flags = (*(("--delete",) if step.delete else ()), *(() if step.safety else ("--no-safety",)))
        only = tuple(part for path in step.include for part in ("--include", self.fill(path)))
        return shlex.join(("drtool", "restore", self.fill(step.dataset), *which, *where, *flags, *only))

    def _hold(self, step: HoldStep) -> Iterator[str]:
        reason = ("--reason", self.fill(step.reason or step.title))
        if step.action == "set":
            repository = ("--repository", self.fill(step.repository)) if step.repository else ()
            yield shlex.join(("drtool", "hold", "set", *repository, *reason))
        else:
            yield "drtool hold list"
            yield shlex.join(("drtool", "hold", "release", BLANK, *reason))

    def _evidence(self, step: EvidenceStep) -> Iterator[str]:
        for name, argv in step.collect.items():
            yield f"{self.typed(argv)} > {shlex.quote(name)}.txt"
        for file in step.files:
            yield self.typed(("cp", "-a", file, "."))
        yield "sha256sum *"

    def _facts(self, step: Step) -> Iterator[Fact]:
        if isinstance(step, ScriptStep):
            yield "sha256", step.sha256
        if isinstance(step, ExecStep | ScriptStep):
            for variable, name in step.secrets.items():
                param = self.runbook.params.get(name)
                where = _whereabouts(param.secret) if param and param.secret else BLANK
                yield "secret", f"{variable} = {name} ({where})"
        if isinstance(step, NotifyStep):
            yield from (("tell", self._number(name)) for name in step.to)
        if isinstance(step, WaitStep) and step.duration:
            yield "wait", step.duration
        if isinstance(step, WaitStep) and step.until:
            yield "wait_at_most", step.timeout
        if isinstance(step, RunbookStep) and step.runbook in self.runbooks:
            yield "runbook", self.runbooks[step.runbook].title

    def _number(self, name: str) -> str:
        """Whom to call, with the numbers."""
        contact = self.register.contacts.get(name)
        if contact:
            return ", ".join(filter(None, (contact.name, *contact.phones, contact.mail, contact.portal)))
        people = (", ".join((person.name, *person.phones)) for person in self.register.people_of(name))
        return f"{name}: {' / '.join(people)}"

    # What is looked at

    def looks(self, probes: Iterable[Probe]) -> tuple[Look, ...]:
        """Probes as a person does them."""
        return tuple(self._look(probe) for probe in probes)

    def _look(self, probe: Probe) -> Look:
        command, facts = _LOOKS[type(probe)](self, probe)
        target = self.fill(getattr(probe, "target", None) or "")
        often: list[Fact] = [("consecutive", probe.consecutive)] if probe.consecutive > 1 else []
        on: list[Fact] = [("on", target)] if target else []
        return Look(
            command=command,
            facts=tuple((*on, *facts, *often)),
            failing=probe.expect == "failing",
            text=self.fill(probe.text or ""),
        )


def _whereabouts(secret: Secret) -> str:
    """Where a secret is to be had; never the secret."""
    if secret.command:
        return shlex.join(secret.command)
    return str(secret.file or (f"${secret.env}" if secret.env else secret.credential))


def _own_commands(known: ServiceCommands, action: str) -> tuple[tuple[str, ...], ...]:
    """The register's commands for a service, where it has any."""
    own = getattr(known, action)
    if own:
        return (own,)
    return (known.stop, known.start) if action == "restart" and known.stop and known.start else ()


def _observed(step: Step) -> tuple[Probe, ...]:
    if isinstance(step, ProbeStep):
        return step.do
    return (step.until,) if isinstance(step, WaitStep) and step.until else ()


_Seen = tuple[str, list[Fact]]


def _http(paper: _Paper, probe: HttpProbe) -> _Seen:
    connect = ("--connect-to", f"::{paper.fill(probe.connect)}") if probe.connect else ()
    ca = ("--cacert", paper.fill(probe.ca)) if probe.ca else ()
    facts: list[Fact] = [("status", ", ".join(probe.status))]
    facts += [("header", f"{paper.fill(name)}: {paper.fill(value)}") for name, value in probe.header.items()]
    facts += [("holds", paper.fill(probe.body))] if probe.body else []
    facts += [("without", paper.fill(probe.without))] if probe.without else []
    facts += [("valid_for", probe.valid_for)] if probe.valid_for else []
    return shlex.join(("curl", "-si", *connect, *ca, paper.fill(probe.url))), facts


def _tcp(paper: _Paper, probe: TcpProbe) -> _Seen:
    return shlex.join(("nc", "-vz", paper.fill(probe.host), str(probe.port))), [("answers", "")]


def _tls(paper: _Paper, probe: TlsProbe) -> _Seen:
    host, name = paper.fill(probe.host), paper.fill(probe.name or probe.host)
    ca = ("-CAfile", paper.fill(probe.ca)) if probe.ca else ()
    asks = ("openssl", "s_client", "-connect", f"{host}:{probe.port}", "-servername", name, *ca)
    seconds = str(int(probe.valid_for.total_seconds()))
    command = f"{shlex.join(asks)} </dev/null | openssl x509 -noout -subject -enddate -checkend {seconds}"
    return command, [("name", name), ("valid_for", probe.valid_for)]


def _dns(paper: _Paper, probe: DnsProbe) -> _Seen:
    server, _, port = paper.fill(probe.server or "").partition(":")
    at = (f"@{server}", *(("-p", port) if port else ())) if server else ()
    answer = ", ".join(paper.fill_all(probe.answer)) if probe.answer else ""
    return shlex.join(("dig", "+short", *at, paper.fill(probe.name), probe.type)), [("answers", answer)]


def _file(paper: _Paper, probe: FileProbe) -> _Seen:
    path = paper.fill(probe.path)
    facts: list[Fact] = [("there", "") if probe.present else ("not_there", "")]
    facts += [("younger", probe.younger)] if probe.younger else []
    if probe.contains:
        return shlex.join(("grep", "-F", "--", paper.fill(probe.contains), path)), [*facts, ("holds", probe.contains)]
    return shlex.join(("ls", "-ld", path)), facts


def _disk(paper: _Paper, probe: DiskProbe) -> _Seen:
    path = shlex.quote(paper.fill(probe.path))
    return f"df -h {path}; df -i {path}", [("free", f"{probe.free} %"), ("inodes", f"{probe.inodes} %")]


def _process(paper: _Paper, probe: ProcessProbe) -> _Seen:
    facts: list[Fact] = [("at_least", probe.min)]
    facts += [("at_most", probe.max)] if probe.max is not None else []
    return shlex.join(("pgrep", "-xc", paper.fill(probe.name))), facts


def _service_probe(paper: _Paper, probe: ServiceProbe) -> _Seen:
    service = paper.fill(probe.service)
    host = paper.register.hosts.get(paper.fill(probe.target or ""))
    known = host.services.get(service) if host else None
    if known and known.status:
        return paper.typed(known.status), [("exit", 0)]
    return shlex.join(("systemctl", "is-active", known.unit if known and known.unit else service)), [
        ("prints", "active")
    ]


def _sql(paper: _Paper, probe: SqlProbe) -> _Seen:
    facts: list[Fact] = [("database", paper.fill(probe.dataset))]
    facts += [("answers", paper.fill(probe.answer))] if probe.answer is not None else []
    facts += [("at_least", probe.at_least)] if probe.at_least is not None else []
    return paper.fill(probe.query), facts


def _sha256(paper: _Paper, probe: Sha256Probe) -> _Seen:
    return shlex.join(("sha256sum", paper.fill(probe.path))), [("sha256", probe.sha256)]


def _command(paper: _Paper, probe: CommandProbe) -> _Seen:
    facts: list[Fact] = [("exit", probe.exit)]
    facts += [("holds", paper.fill(probe.output))] if probe.output else []
    return paper.typed(probe.argv), facts


def _copies(paper: _Paper, probe: CopiesProbe) -> _Seen:
    facts: list[Fact] = [("repository", probe.repository)] if probe.repository else []
    return "drtool status", [*facts, ("copies", "")]


_LOOKS: Mapping[type, Callable[..., _Seen]] = {
    HttpProbe: _http,
    TcpProbe: _tcp,
    TlsProbe: _tls,
    DnsProbe: _dns,
    FileProbe: _file,
    DiskProbe: _disk,
    ProcessProbe: _process,
    ServiceProbe: _service_probe,
    SqlProbe: _sql,
    Sha256Probe: _sha256,
    CommandProbe: _command,
    CopiesProbe: _copies,
}
