"""The acts of steps, one function for each kind. A bad end is a value; it is never tried again here."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from drtool.core.model import Hold, LoadRequest, Outcome, RestoreOutcome, RestoreRequest
from drtool.core.observation import ProgramEnd
from drtool.core.ports import Journal
from drtool.core.runbook import Answer, RunState
from drtool.documents.register import Contact, Person
from drtool.documents.runbook import (
    BackupStep,
    EvidenceStep,
    ExecStep,
    HoldStep,
    NotifyStep,
    ProbeStep,
    Question,
    RestoreStep,
    RunbookStep,
    ScriptStep,
    ServiceStep,
    Step,
    WaitStep,
)
from drtool.errors import DrtoolError, HostUnreachable, NoSuchAnswer, UsageError
from drtool.flows.back_up import back_up
from drtool.flows.hold import list_holds, release_hold, set_hold
from drtool.flows.in_place import load_in_place, plan_in_place, restore_in_place
from drtool.flows.load import load, plan_load
from drtool.flows.moments import parse_moment
from drtool.flows.observe import fitting, observe, observe_all
from drtool.flows.parameters import Params, fill
from drtool.flows.recovery import Recovery
from drtool.flows.restore import plan_restore, restore

MARK = "DRTOOL_STEP"
KEPT_OF_OUTPUT = 1 << 20  # bytes of a program's output that are kept from its beginning, and as many from its end
LAST_LINE = 300  # characters of it that a reason shows

_S = TypeVar("_S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """How an act ended. ``waiting``: a runbook within it waits for a person."""

    good: bool
    reason: str = ""
    overdue: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    waiting: RunState | None = None
    exceptions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where a step acts. ``other`` runs another runbook within this run."""

    recovery: Recovery
    journal: Journal
    params: Params
    values: Mapping[str, Answer]  # the parameters, and what every text may name
    attempt: int
    other: Callable[[RunbookStep], Acted]

    def fill(self, value: _S) -> _S:
        filled: _S = fill(value, self.values)
        return filled


def perform(step: Step, scene: Scene) -> Acted:
    """Do what a step does. Errors of drtool's own are bad ends; others are bugs, and raised."""
    try:
        return _ACTS[type(step)](step, scene)
    except NoSuchAnswer:
        raise
    except DrtoolError as error:
        return Acted(good=False, reason=f"{error.message}{f'; {error.hint}' if error.hint else ''}")


def told(step: Step, values: Mapping[str, Answer]) -> Mapping[str, Any]:
    """What a step is about to do, with its parameters put in, for the journal and for a dry run. Raises ``UsageError``.

    Secrets are no parameters of texts, so none can be in it.
    """
    own = {key: getattr(step, key) for key in type(step).model_fields if key not in _COMMON | {"emit"}}
    plain = {key: _plain(value) for key, value in own.items() if value not in (None, (), {}, "", False)}
    filled: Mapping[str, Any] = fill(plain, values)
    return filled


def _plain(value: Any) -> Any:
    """As JSON knows it; of probes only what they are."""
    if isinstance(value, tuple):
        return tuple(_plain(one) for one in value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Question):
        return value.text
    return str(value) if isinstance(value, Path) else getattr(value, "probe", value)


_COMMON = frozenset(ProbeStep.model_fields) & frozenset(WaitStep.model_fields)  # what every step has


class _Output:
    """What a program prints: handed on, hashed, and kept in a file that cannot grow without end."""

    def __init__(self, path: Path, tell: Callable[[bytes], None]) -> None:
        self._file = path.open("wb")
        self._tell, self._digest = tell, hashlib.sha256()
        self._size = 0
        self._end: deque[bytes] = deque()
        self._kept = 0

    def take(self, piece: bytes) -> None:
        self._tell(piece)
        self._digest.update(piece)
        room = max(0, KEPT_OF_OUTPUT - self._size)
        self._size += len(piece)
        self._file.write(piece[:room])
        if rest := piece[room:]:
            self._end.append(rest)
            self._kept += len(rest)
            while self._kept - len(self._end[0]) >= KEPT_OF_OUTPUT:
                self._kept -= len(self._end.popleft())

    def close(self) -> Mapping[str, Any]:
        end = b"".join(self._end)[-KEPT_OF_OUTPUT:]
        left_out = self._size - min(self._size, KEPT_OF_OUTPUT) - len(end)
        if left_out:
            self._file.write(f"\n[… {left_out} bytes left out …]\n".encode())
        self._file.write(end)
        self._file.close()
        return {"bytes": self._size, "sha256": self._digest.hexdigest(), "file": Path(self._file.name).name}


def _run(step: ExecStep | ScriptStep, argv: Sequence[str], scene: Scene, *, stdin: bytes | None = None) -> Acted:
    secrets = {name: scene.recovery.secret(scene.params.secrets[param]) for name, param in step.secrets.items()}
    output = _Output(
        _unused(scene.journal, "output", f"{step.id}.{scene.attempt}"),
        lambda piece: scene.recovery.console.output(step.id, piece),
    )
    last = _LastLine()

    def take(piece: bytes) -> None:
        output.take(piece)
        last.take(piece)

    hiding = _Hiding(secrets.values(), take)
    try:
        end = scene.recovery.hosts.run(
            scene.fill(step.target or ""),
            argv,
            limit=step.timeout.total_seconds(),
            take=hiding.take,
            env={**scene.fill(step.env), MARK: mark_of(scene.journal.run, step.id)},
            secrets=secrets,
            stdin=stdin,
        )
    finally:
        hiding.close()
        printed = output.close()
    reason = "" if end.good else _bad_end(argv[0], end, last.text())
    return Acted(good=end.good, reason=reason, overdue=end.overdue, facts={"code": end.code, "output": printed})


def mark_of(run: str, step: str) -> str:
    """What every process of a step bears in its environment, so that what outlives a killed drtool is known."""
    return f"{run}/{step}"


def _unused(journal: Journal, folder: str, name: str) -> Path:
    """A new file: what an earlier attempt left is proof, and stays."""
    number = 1
    while (path := journal.path(folder, name if number == 1 else f"{name}.{number}")).exists():
        number += 1
    return path


class _Hiding:
    """Hands on what a program prints without its secrets, also where one comes in two pieces."""

    def __init__(self, secrets: Iterable[bytes], take: Callable[[bytes], None]) -> None:
        self._secrets = [secret for secret in secrets if secret]
        self._kept = max(map(len, self._secrets), default=1) - 1
        self._take, self._tail = take, b""

    def take(self, piece: bytes) -> None:
        text = self._hidden(self._tail + piece)
        cut = max(0, len(text) - self._kept)
        self._tail = text[cut:]
        self._take(text[:cut])

    def close(self) -> None:
        self._take(self._tail)
        self._tail = b""

    def _hidden(self, text: bytes) -> bytes:
        for secret in self._secrets:
            text = text.replace(secret, b"[secret]")
        return text


class _LastLine:
    """The last line with anything in it, of what may have no lines at all."""

    def __init__(self) -> None:
        self._tail = b""

    def take(self, piece: bytes) -> None:
        self._tail = (self._tail + piece)[-4 * LAST_LINE :]

    def text(self) -> str:
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return "".join(sign if sign.isprintable() else " " for sign in lines[-1])[-LAST_LINE:] if lines else ""


def _bad_end(program: str, end: ProgramEnd, last: str = "") -> str:
    how = f"ended with {end.code}" if end.code >= 0 else f"was ended by signal {-end.code}"
    return f"{program} {'took too long and was ended' if end.overdue else how}{f': {last}' if last else ''}"


def _exec(step: ExecStep, scene: Scene) -> Acted:
    return _run(step, scene.fill(step.argv), scene)


def _script(step: ScriptStep, scene: Scene) -> Acted:
    """The interpreter reads from a copy, or from its stdin, just those bytes whose digest was compared."""
    if not step.script.is_file():
        raise UsageError(f"there is no script {step.script}")
    content = step.script.read_bytes()
    if hashlib.sha256(content).hexdigest() != step.sha256:
        raise UsageError(
            f"script {step.script} is not the one that the runbook pins", hint="compare it, then correct sha256"
        )
    interpreter, arguments = _interpreter(content), scene.fill(step.args)
    if step.target:
        return _run(step, (*interpreter, "/dev/stdin", *arguments), scene, stdin=content)
    with tempfile.TemporaryDirectory(prefix="drtool-script-") as folder:
        copy = Path(folder) / step.script.name
        copy.write_bytes(content)
        return _run(step, (*interpreter, str(copy), *arguments), scene)


def _interpreter(content: bytes) -> tuple[str, ...]:
    first = content.split(b"\n", 1)[0].decode(errors="replace")
    if not first.startswith("#!"):
        raise UsageError("the script's first line does not name its interpreter", hint="begin it with #!/bin/bash")
    return tuple(first[2:].split())


def _service(step: ServiceStep, scene: Scene) -> Acted:
    host, service = scene.fill(step.target or ""), scene.fill(step.service)
    for argv in scene.recovery.hosts.service(host, service, step.action):
        last = _LastLine()
        end = scene.recovery.hosts.run(host, argv, limit=step.timeout.total_seconds(), take=last.take)
        if not end.good:
            return Acted(good=False, overdue=end.overdue, reason=_bad_end(argv[0], end, last.text()))
    return Acted(good=True)


def _probe(step: ProbeStep, scene: Scene) -> Acted:
    seen = observe_all(step.do, scene.values, scene.recovery)
    return Acted(good=all(map(fitting, seen)), reason="; ".join(one.reason for one in seen if not fitting(one)))


def _restore(step: RestoreStep, scene: Scene) -> Acted:
    """What there is now is saved first where it goes in place; a database that is broken cannot be, and says so."""
    asked = _Asked(step, scene)
    with scene.recovery.own:
        done = asked.load() if asked.database else asked.restore()
    if done.undo:
        scene.recovery.console.tell(f"what was there before is saved; to go back to it: {done.undo}")
    good = done.outcome is Outcome.DONE and done.verified
    facts = {"snapshot": done.snapshot.id, "source": done.source, "files": done.files, "bytes": done.bytes,
             "safety": done.safety, "run": done.run}  # fmt: skip
    return Acted(good=good, reason=done.reason if not good else "", facts=facts)


class _Asked:
    """The restore that a step asks for."""

    def __init__(self, step: RestoreStep, scene: Scene) -> None:
        self._step, self._estate, self._outside = step, scene.recovery.estate, scene.recovery.outside
        self._dataset = scene.fill(step.dataset)
        if self._dataset not in self._estate.datasets:
            raise UsageError(f"there is no dataset {self._dataset}")
        self._to, self._include = scene.fill(step.to or ""), scene.fill(step.include)
        own = getattr(self._estate.datasets[self._dataset].source, "database", "") if step.in_place else ""
        self.database = scene.fill(step.into or "") or own
        self._which = _which(scene.fill(step.snapshot))

    def load(self) -> RestoreOutcome:
        in_place = self._step.in_place
        request = LoadRequest(dataset=self._dataset, database=self.database, over=in_place, in_place=in_place,
                              safety=self._step.safety, **self._which)  # fmt: skip
        plan = plan_load(self._estate, request, self._outside)
        if in_place:
            return load_in_place(self._estate, plan, self._outside, safety=self._step.safety, wait=_PATIENCE)
        return load(plan, self._outside)

    def restore(self) -> RestoreOutcome:
        step, target = self._step, Path(self._to or "/")
        request = RestoreRequest(dataset=self._dataset, target=target, include=self._include, in_place=step.in_place,
                                 delete=step.delete, safety=step.safety, over=False, **self._which)  # fmt: skip
        if step.in_place:
            in_place = plan_in_place(self._estate, request, self._outside)
            return restore_in_place(self._estate, in_place, self._outside, wait=_PATIENCE)
        return restore(plan_restore(self._estate, request, self._outside), self._outside)


_PATIENCE = 300.0  # seconds that another run is waited for


def _which(snapshot: str) -> dict[str, Any]:
    """latest, the beginning of an id, or a time."""
    if snapshot == "latest":
        return {}
    return {"snapshot": snapshot} if re.fullmatch(r"[0-9a-f]{4,64}", snapshot) else {"at": parse_moment(snapshot)}


def _backup(step: BackupStep, scene: Scene) -> Acted:
    estate = scene.recovery.estate
    names = scene.fill(step.datasets) or tuple(estate.datasets)
    if unknown := [name for name in names if name not in estate.datasets]:
        raise UsageError(f"there is no dataset {unknown[0]}")
    with scene.recovery.own:
        done = back_up(estate, names, scene.recovery.outside, wait=_PATIENCE)
    bad = [*(f"dataset {one.dataset}: {one.reason}" for one in done.datasets if one.outcome is not Outcome.DONE),
           *(f"copy {one.copy}: {one.reason}" for one in done.copies if one.outcome is not Outcome.DONE)]  # fmt: skip
    return Acted(good=done.outcome is Outcome.DONE, reason="; ".join(bad), facts={"run": done.run})


def _hold(step: HoldStep, scene: Scene) -> Acted:
    """A hold that this run has set already is not set again."""
    outside, mark = scene.recovery.outside, _BY.format(run=scene.journal.run)
    with scene.recovery.own:
        ours = holds_of(scene.journal.run, scene.recovery)
        if step.action == "release":
            for hold in ours:
                release_hold(outside, hold.id, reason=f"{mark} it is over")
            return Acted(good=True, facts={"released": [hold.id for hold in ours]})
        repository = scene.fill(step.repository or "")
        hold = next((hold for hold in ours if hold.repository == repository), None) or set_hold(
            scene.recovery.estate,
            outside,
            repository=repository,
            snapshot="",
            reason=f"{mark} {scene.fill(step.reason or step.title)}",
        )
    return Acted(good=True, facts={"hold": hold.id})


def holds_of(run: str, recovery: Recovery) -> tuple[Hold, ...]:
    """The holds that a run has set."""
    return tuple(one for one in list_holds(recovery.outside) if one.reason.startswith(_BY.format(run=run)))


_BY = "runbook run {run}:"


def _evidence(step: EvidenceStep, scene: Scene) -> Acted:
    """Each output and file in a file of its own, with its SHA-256; what cannot be had is told, the rest is kept."""
    files = {f"file-{number}": ("tar", "--create", "--absolute-names", "--", path)
             for number, path in enumerate(scene.fill(step.files), 1)}  # fmt: skip
    kept, bad = {}, []
    for name, argv in {**scene.fill(step.collect), **files}.items():
        path = _unused(scene.journal, "kept", f"{step.id}.{name}")
        digest = hashlib.sha256()
        with path.open("wb") as file:

            def take(piece: bytes, file: Any = file, digest: Any = digest) -> None:
                file.write(piece)
                digest.update(piece)

            limit = step.timeout.total_seconds()
            end = _kept_from(scene, argv, scene.fill(step.target or ""), limit, take)
        kept[path.name] = digest.hexdigest()
        if not end.good:
            bad.append(_bad_end(argv[0], end))
    return Acted(good=not bad, reason="; ".join(bad), facts={"kept": kept})


def _kept_from(scene: Scene, argv: Sequence[str], host: str, limit: float, take: Callable[[bytes], None]) -> ProgramEnd:
    """A host that vanishes in the middle does not cost what was kept before."""
    try:
        return scene.recovery.hosts.run(host, argv, limit=limit, take=take)
    except HostUnreachable as error:
        scene.recovery.console.tell(error.message)
        return ProgramEnd(code=255)


def _notify(step: NotifyStep, scene: Scene) -> Acted:
    """By the estate's addresses; and whom to call stands on the screen, with the numbers."""
    recovery, message = scene.recovery, scene.fill(step.message)
    taken = recovery.messages.send(scene.fill(step.title), message)
    for name in step.to:
        for line in whom(recovery, name):
            recovery.console.tell(f"tell {line}: {message}")
    return Acted(good=True, facts={"sent": list(taken)})


def whom(recovery: Recovery, name: str) -> tuple[str, ...]:
    """The people of a role, or a contact, with their numbers, a line each."""
    register = recovery.register
    found: list[Person | Contact] = [*register.people_of(name)]
    if name in register.contacts:
        found.append(register.contacts[name])
    return tuple(f"{one.name} ({name}), {', '.join(one.phones) or 'no number'}" for one in found) or (name,)


def _wait(step: WaitStep, scene: Scene) -> Acted:
    """A time is waited for in pieces, so that Ctrl-C ends it at once."""
    clock = scene.recovery.outside.clock
    if step.duration:
        end = clock.monotonic() + step.duration.total_seconds()
        while (left := end - clock.monotonic()) > 0:
            clock.sleep(min(left, 0.5))
        return Acted(good=True)
    assert step.until is not None  # one of the two
    end, seen = clock.monotonic() + step.timeout.total_seconds(), observe(step.until, scene.values, scene.recovery)
    while not fitting(seen) and clock.monotonic() < end:
        clock.sleep(step.until.interval.total_seconds())
        seen = observe(step.until, scene.values, scene.recovery)
    return Acted(good=fitting(seen), overdue=not fitting(seen), reason="" if fitting(seen) else seen.reason)


_ACTS: Mapping[type, Callable[[Any, Scene], Acted]] = {
    ProbeStep: _probe,
    ExecStep: _exec,
    ScriptStep: _script,
    ServiceStep: _service,
    RestoreStep: _restore,
    BackupStep: _backup,
    HoldStep: _hold,
    EvidenceStep: _evidence,
    NotifyStep: _notify,
    WaitStep: _wait,
    RunbookStep: lambda step, scene: scene.other(step),
}
