"""Judging: a policy's rules against the facts, at a given time. What is not known never passes.

A new type of rule is one function, here or in a module of its own, and its line in ``JUDGES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import combinations
from types import MappingProxyType
from typing import Any, Literal, Protocol

from drtool.core.immutability import judge_immutability
from drtool.core.media import Distinct, Medium, counts_alone, differ, gravest, largest_set
from drtool.core.media import Verdict as Standing
from drtool.core.model import (
    CopyState,
    CopyStatus,
    DatasetStatus,
    Facts,
    Finding,
    Holding,
    Judged,
    Protection,
    Verdict,
)

CLOCK_SLACK = timedelta(minutes=5)  # how far ahead of our clock another machine's snapshot may be dated

# What a policy is asked for; the documents' models fit these


class Rule(Protocol):
    """What every rule has."""

    @property
    def type(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def clause(self) -> str: ...


class CopiesRule(Rule, Protocol):
    """Every dataset exists in at least ``min`` copies that differ in each word of ``distinct``."""

    @property
    def min(self) -> int: ...
    @property
    def distinct(self) -> Sequence[str]: ...
    @property
    def fresh(self) -> timedelta | Literal["rpo"] | None: ...


class Policy(Protocol):
    """A named set of rules."""

    @property
    def policy(self) -> str: ...
    @property
    def rules(self) -> Sequence[Rule]: ...


Judge = Callable[[Any, Facts, datetime], Iterable[Judged]]


def judge(policy: Policy, facts: Facts, now: datetime) -> tuple[Finding, ...]:
    """Every rule against every subject it speaks of, in the policy's order; at least one finding per rule."""
    return tuple(
        Finding(
            policy=policy.policy,
            rule=rule.rule,
            clause=rule.clause,
            subject=judged.subject,
            verdict=judged.verdict,
            reason=judged.reason,
            hint=judged.hint,
        )
        for rule in policy.rules
        for judged in _judged(rule, facts, now)
    )


def _judged(rule: Rule, facts: Facts, now: datetime) -> tuple[Judged, ...]:
    judging = JUDGES.get(rule.type)
    if judging is None:
        return (_unknown(facts.site, f"this drtool does not know rules of type {rule.type}", "upgrade drtool"),)
    nothing = _unknown(facts.site, "there is nothing known that this rule could be held against", "`drtool validate`")
    return tuple(judging(rule, facts, now)) or (nothing,)


# Copies: enough of them, different, and fresh


def _copies(rule: CopiesRule, facts: Facts, now: datetime) -> Iterator[Judged]:
    for dataset in facts.datasets:
        copies = {copy.copy: copy for copy in facts.copies if copy.repository == dataset.repository}
        if copies:
            yield _enough(rule, dataset, copies, facts, now)
        else:
            yield _unknown(
                dataset.dataset,
                f"nothing is known of the copies of repository {dataset.repository}",
                "`drtool copies list`",
            )


def _enough(
    rule: CopiesRule, dataset: DatasetStatus, copies: Mapping[str, CopyStatus], facts: Facts, now: datetime
) -> Judged:
    places = {name: _Place.of(copy, facts) for name, copy in copies.items()}
    live = dataset.media if "medium" in rule.distinct else ()
    alone = {
        name: gravest((_holds(rule, dataset, copy, now), _stands(places[name].medium, live)))
        for name, copy in copies.items()
    }
    pairs = {(a, b): _apart(rule.distinct, places[a], places[b]) for a, b in combinations(copies, 2)}
    found = largest_set(alone, pairs)
    verdict = _reached(rule.min, found)
    return Judged(
        subject=dataset.dataset,
        verdict=verdict,
        reason=_sentence(rule, found, len(copies)) + _caveats(rule, dataset, copies, found),
        hint="" if verdict is Verdict.PASS else _next_act(rule, dataset, found, len(copies)),
    )


def _reached(needed: int, found: Distinct) -> Verdict:
    if len(found.sure) >= needed:
        return Verdict.PASS
    return Verdict.FAIL if len(found.possible) < needed else Verdict.UNKNOWN


def _stands(medium: Medium, live: Sequence[Medium]) -> Standing:
    """Whether a copy's medium counts beside the live data's."""
    standing = counts_alone(medium, live)
    return replace(standing, hint=_MEDIUM_HINTS[standing.different])


def _holds(rule: CopiesRule, dataset: DatasetStatus, copy: CopyStatus, now: datetime) -> Standing:
    """Whether a copy surely holds the dataset, fresh enough."""
    sound = _SOUND[copy.state]
    if not sound:
        what = f"{copy.copy} {_STATE_WORDS[copy.state]}"
        reason = f"{what}: {copy.reason}" if copy.reason else what
        return Standing(different=sound, reason=reason, hint=copy.hint or _state_hint(copy))
    holding = next((one for one in dataset.holdings if one.copy == copy.copy), None)
    if holding is None:
        reason = f"what {copy.copy} holds is not known"
        return Standing(different=None, reason=reason, hint=f"`drtool snapshots {dataset.dataset}`")
    return _fresh(_allowed_age(rule, dataset, copy), holding, now)


def _allowed_age(rule: CopiesRule, dataset: DatasetStatus, copy: CopyStatus) -> timedelta | None:
    """How old the newest snapshot may be; of a copy that is behind, never without a limit."""
    if isinstance(rule.fresh, timedelta):
        return rule.fresh
    return dataset.rpo if rule.fresh == "rpo" or copy.state is CopyState.BEHIND else None


def _fresh(allowed: timedelta | None, holding: Holding, now: datetime) -> Standing:
    backup = "`drtool backup`"
    if holding.newest is None:
        return Standing(different=False, reason=f"{holding.copy} holds no snapshot of it", hint=backup)
    age = now - holding.newest.time
    if allowed is not None and age < -CLOCK_SLACK:
        ahead = f"the newest snapshot in {holding.copy} is dated {in_words(-age)} ahead of the clock"
        return Standing(different=None, reason=ahead, hint="check the clock: `timedatectl`")
    if allowed is not None and age > allowed:
        stale = f"the newest snapshot in {holding.copy} is {in_words(age)} old, which is more than {in_words(allowed)}"
        return Standing(different=False, reason=stale, hint=backup)
    return Standing(different=True, reason=f"{holding.copy} holds a snapshot of it")


_SOUND: Mapping[CopyState, bool | None] = MappingProxyType(
    {
        CopyState.HEALTHY: True,
        CopyState.BEHIND: True,
        CopyState.DAMAGED: False,
        CopyState.ABSENT: False,
        CopyState.UNKNOWN: None,
    }
)
_STATE_WORDS: Mapping[CopyState, str] = MappingProxyType(
    {CopyState.DAMAGED: "is damaged", CopyState.ABSENT: "is absent", CopyState.UNKNOWN: "could not be looked at"}
)


def _state_hint(copy: CopyStatus) -> str:
    match copy.state:
        case CopyState.DAMAGED:
            return "`drtool backup`"
        case CopyState.ABSENT:
            return f"mount the medium of {copy.copy}, or begin a new copy with `drtool copies init`"
        case _:
            return f"make {copy.copy} reachable, then `drtool copies list`"


# In what two copies differ


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a copy lies, as far as that tells it from others."""

    medium: Medium
    provider: str | None
    site: str | None

    @property
    def name(self) -> str:
        return self.medium.label

    @staticmethod
    def of(copy: CopyStatus, facts: Facts) -> _Place:
        """A directory that names no provider is our own; what lies in this machine is at the estate's site."""
        medium = replace(copy.medium, label=copy.copy)
        stored_by_others = medium.kind == "object-store" or copy.location.startswith("s3:")
        return _Place(
            medium=medium,
            provider=medium.provider or (None if stored_by_others else "own"),
            site=medium.site or (facts.site if medium.machine else None),
        )


def _apart(words: Sequence[str], a: _Place, b: _Place) -> Standing:
    """Two copies differ if they differ in every word."""
    return gravest(_DIFFERENCES[word](a, b) if word in _DIFFERENCES else _untold(word, a, b) for word in words)


def _by_medium(a: _Place, b: _Place) -> Standing:
    standing = differ(a.medium, b.medium)
    return replace(standing, hint=_MEDIUM_HINTS[standing.different])


def _by_provider(a: _Place, b: _Place) -> Standing:
    for place in (a, b):
        if not place.provider:
            reason = f"who runs {place.name} is not known"
            return Standing(different=None, reason=reason, hint=f"name the `provider:` of {place.name}")
    assert a.provider and b.provider
    if a.provider.strip().casefold() == b.provider.strip().casefold():
        ours = a.provider == "own"
        reason = f"{a.name} and {b.name} are both " + ("our own" if ours else f"at {a.provider}")
        return Standing(different=False, reason=reason, hint="add a copy at another provider")
    return Standing(different=True, reason=f"{a.name} and {b.name} are at different providers")


def _by_site(a: _Place, b: _Place) -> Standing:
    for place in (a, b):
        if not place.site:
            reason = f"at which site {place.name} lies is not known"
            return Standing(different=None, reason=reason, hint=f"declare the `medium:` of {place.name} with its site")
    if a.site == b.site:
        reason = f"{a.name} and {b.name} are both at site {a.site}"
        return Standing(different=False, reason=reason, hint="add a copy at another site")
    return Standing(different=True, reason=f"{a.name} is at {a.site}, {b.name} at {b.site}")


def _untold(word: str, a: _Place, b: _Place) -> Standing:
    reason = f"whether {a.name} and {b.name} differ in {word} cannot be judged by this drtool"
    return Standing(different=None, reason=reason, hint="upgrade drtool")


_DIFFERENCES: Mapping[str, Callable[[_Place, _Place], Standing]] = MappingProxyType(
    {"medium": _by_medium, "provider": _by_provider, "site": _by_site}
)
_MEDIUM_HINTS: Mapping[bool | None, str] = MappingProxyType(
    {True: "", None: "declare where it lies with `medium:` in drtool.yaml", False: "add a copy on another medium"}
)

# The sentences about copies


def _sentence(rule: CopiesRule, found: Distinct, copies: int) -> str:
    count = f"{len(found.sure) or 'none'} of {copies} {'copies' if copies > 1 else 'copy'}"
    count += " count" if len(found.sure) > 1 else " counts"
    fallen = "; ".join(dict.fromkeys(standing.reason for standing in found.fell_out.values()))
    if len(found.sure) >= rule.min:
        return f"{count}: {_listed(found.sure)}" + (f"; left out: {fallen}" if fallen else "")
    if len(found.possible) >= rule.min:
        count += f" for certain, {len(found.possible)} might"
    return f"{count}, {rule.min} are needed: {fallen or 'there are no more'}"


def _caveats(rule: CopiesRule, dataset: DatasetStatus, copies: Mapping[str, CopyStatus], found: Distinct) -> str:
    """On what the count rests beyond what the machine saw: declarations, or live data of which nothing is known."""
    if not {"medium", "site"} & set(rule.distinct):
        return ""
    declared = [name for name in found.sure if copies[name].medium.declared]
    if "medium" in rule.distinct:
        declared += [medium.label or "the live data" for medium in dataset.media if medium.declared]
    said = f" (resting on what is declared of {_listed(tuple(dict.fromkeys(declared)))})" if declared else ""
    if "medium" in rule.distinct and found.sure and not dataset.media:
        said += " (on what medium the live data lies is not known)"
    return said


def _next_act(rule: CopiesRule, dataset: DatasetStatus, found: Distinct, copies: int) -> str:
    """What would bring the count up: first what is doubtful if that could be enough, else what is wrong."""
    fallen = [standing for standing in found.fell_out.values() if standing.hint]
    doubtful = [standing for standing in fallen if standing.different is None]
    settles = bool(doubtful) and len(found.possible) >= rule.min
    hints = [standing.hint for standing in (doubtful if settles else fallen)]
    if copies < rule.min:
        hints.append(f"add a copy to repository {dataset.repository} in drtool.yaml, then `drtool copies init`")
    return "; ".join(dict.fromkeys(hints))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "none"


# Encryption: restic encrypts every repository; is it one, and how do its bytes travel?


def _encryption(rule: Rule, facts: Facts, now: datetime) -> Iterator[Judged]:
    seen = {(one.repository, one.copy) for one in facts.protection}
    known = {repository for repository, _ in seen} | {copy.repository for copy in facts.copies}
    for one in facts.protection:
        yield _encrypted(one)
    for copy in facts.copies:
        if (copy.repository, copy.copy) not in seen:
            yield _unknown(f"{copy.repository}/{copy.copy}", "how it is protected is not known", "`drtool copies list`")
    for repository in dict.fromkeys(dataset.repository for dataset in facts.datasets):
        if repository not in known:
            yield _unknown(repository, "nothing is known of its copies", "`drtool copies list`")


def _encrypted(one: Protection) -> Judged:
    subject = f"{one.repository}/{one.copy}"
    way = _TRANSPORTS.get(one.transport)
    if one.opaque is False:
        reason = "what lies there can be read without a password: it is no restic repository"
        hint = f"begin the copy anew in an empty place: `drtool copies init --refill {one.copy}`"
        return Judged(subject=subject, verdict=Verdict.FAIL, reason=reason, hint=hint)
    if one.transport == "http":
        reason = "its traffic crosses the network without TLS"
        return Judged(subject=subject, verdict=Verdict.FAIL, reason=reason, hint="give its endpoint as https://")
    if one.opaque is None:
        return _unknown(
            subject,
            "whether it is encrypted could not be seen",
            f"make {one.copy} reachable, then `drtool copies list`",
        )
    if way is None:
        return _unknown(subject, f"how its traffic is protected ({one.transport}) is not known", "`drtool copies list`")
    return Judged(subject=subject, verdict=Verdict.PASS, reason=f"encrypted by restic; {way}")


_TRANSPORTS: Mapping[str, str] = MappingProxyType(
    {
        "local": "its bytes do not travel",
        "https": "its traffic is TLS",
        "loopback": "its traffic is not TLS, but does not leave the machine",
    }
)

JUDGES: Mapping[str, Judge] = MappingProxyType(
    {"copies": _copies, "encryption": _encryption, "immutability": judge_immutability}
)


# Words


def in_words(duration: timedelta) -> str:
    """A duration in its two largest units, the same in German and English: ``3 h 12 min``, ``2 d 4 h``, ``45 s``.

    Hours stay hours up to two days, as in the documents.
    """
    seconds = int(abs(duration).total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    shown = ((hours, "h"), (minutes % 60, "min")) if hours < 48 else ((hours // 24, "d"), (hours % 24, "h"))
    return " ".join(f"{amount} {unit}" for amount, unit in shown if amount)


def _unknown(subject: str, reason: str, hint: str) -> Judged:
    return Judged(subject=subject, verdict=Verdict.UNKNOWN, reason=reason, hint=hint)
