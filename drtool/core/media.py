"""Are two places different media? Judged from block-device trees, buckets and declarations.

Only what is proven counts: two media are *different* when every disk of both is known to be
hardware of its own, *the same* when they share one, and *unknown* otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import MappingProxyType
from typing import Literal

Kind = Literal["disk", "object-store", "tape", "optical", "memory", "network", "unknown"]
DeclaredKind = Literal["disk", "object-store", "tape", "optical"]
NodeKind = Literal["disk", "memory", "network", "hidden", "stack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """What can fail as one: the physical disks behind a path, or a bucket at a provider.

    ``label`` and ``devices`` only serve the sentences; they take no part in equality.
    """

    kind: Kind
    ids: tuple[str, ...] = ()
    """Physical disks (``wwn:…``, ``serial:…``, else ``device:NAME@MACHINE``), a bucket, a declared id."""
    machine: bool = False
    """Lies in this very machine."""
    virtual: bool = False
    """A disk is one that a hypervisor, RAID controller or SAN shows: the hardware behind it is hidden."""
    declared: bool = False
    provider: str | None = None
    site: str | None = None
    unresolved: str = ""
    """Why the way to the hardware could not be followed to its end; empty if it was."""
    label: str = field(default="", compare=False)
    devices: tuple[str, ...] = field(default=(), compare=False)
    """What the kernel calls the disks, in the order of ``ids``; may be shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Are two media different: yes, no, or None when it cannot be told; and why."""

    different: bool | None
    reason: str
    declared: bool = False
    """The verdict rests on a declaration."""
    hint: str = ""
    """The next act, for those who judge by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockNode:
    """One device on the way from a path down to the hardware, with what it is built of in ``parts``."""

    name: str
    kind: NodeKind
    identity: str = ""
    virtual: bool = False
    machine: bool = True
    parts: tuple[BlockNode, ...] = ()
    unresolved: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distinct:
    """How many copies lie on different media.

    ``sure`` are proven pairwise different; ``possible`` would be if every unknown were.
    ``fell_out`` tells for each name outside ``sure`` why it does not count beside them.
    """

    sure: tuple[str, ...]
    possible: tuple[str, ...]
    fell_out: Mapping[str, Verdict]


# From a tree of block devices to a medium


def physical_disks(tree: BlockNode) -> tuple[str, ...]:
    """The identities of all disks under the tree, each once, in the order in which they are met."""
    disks = (leaf.identity for leaf in _leaves(tree) if leaf.kind == "disk")
    return tuple(dict.fromkeys(filter(None, disks)))


def medium_of_tree(tree: BlockNode, *, label: str = "") -> Medium:
    """What a place built on this tree depends on: all its leaves, as a mirror lies on each of its disks."""
    leaves = tuple(_leaves(tree))
    named = {leaf.identity: leaf.name for leaf in leaves if leaf.identity}
    return Medium(
        kind=_kind_of(leaves),
        ids=tuple(named),
        devices=tuple(named.values()),
        machine=any(leaf.machine for leaf in leaves),
        virtual=any(leaf.virtual for leaf in leaves),
        unresolved="; ".join(dict.fromkeys(filter(None, map(_gap, leaves)))),
        label=label,
    )


def _leaves(tree: BlockNode) -> Iterator[BlockNode]:
    if not tree.parts:
        yield tree
    for part in tree.parts:
        yield from _leaves(part)


def _gap(leaf: BlockNode) -> str:
    """Why nothing more is known of a leaf; empty for a disk that has an identity, and for memory."""
    if leaf.unresolved or leaf.kind == "memory" or (leaf.kind == "disk" and leaf.identity):
        return leaf.unresolved
    return f"what lies behind {leaf.name} cannot be seen"


def _kind_of(leaves: Sequence[BlockNode]) -> Kind:
    """One leaf in memory makes the whole perishable; one leaf on the network hides where it lies."""
    kinds = {leaf.kind for leaf in leaves}
    if "memory" in kinds:
        return "memory"
    if "network" in kinds:
        return "network"
    return "disk" if "disk" in kinds else "unknown"


# Other ways to a medium


def bucket_medium(
    *, host: str, bucket: str, provider: str | None = None, machine: bool = False, label: str = ""
) -> Medium:
    """An object store: ``host`` with its port if unusual, and whether it is this very machine."""
    return Medium(
        kind="object-store",
        ids=(f"bucket:{host}/{bucket}",),
        machine=machine,
        provider=provider,
        label=label or f"bucket {bucket} at {host}",
    )


def declared_medium(
    *,
    kind: DeclaredKind,
    identity: str = "",
    site: str | None = None,
    provider: str | None = None,
    seen: Medium | None = None,
) -> Medium:
    """What the estate declares about a place.

    It replaces what is unknown of ``seen``, but not what is proven: the ids found by the machine
    stay, so that two declarations cannot make one disk into two media, nor memory into a disk.
    """
    own = identity.strip() or (f"{kind}@{site}" if site else "")
    found = seen if seen is not None else Medium(kind="unknown")
    return Medium(
        kind="memory" if found.kind == "memory" else kind,
        ids=tuple(dict.fromkeys(filter(None, (own, *found.ids)))),
        devices=(own, *found.devices) if own else found.devices,
        declared=True,
        provider=provider or found.provider,
        site=site or found.site,
        unresolved="" if own else "its declaration names neither id nor site",
        label=found.label or own,
    )


# Two media


def differ(a: Medium, b: Medium) -> Verdict:
    """Whether two media are different; the first rule that has something to say decides."""
    for rule in _RULES:
        verdict = rule(a, b)
        if verdict is not None:
            return _resting(verdict, a, b) if verdict.different else verdict
    return _undeclared(f"{_name(a)} and {_name(b)} cannot be compared")


def _resting(verdict: Verdict, *media: Medium) -> Verdict:
    """Says on whose declarations a verdict leans, if on any."""
    declared = " and ".join(_name(medium) for medium in media if medium.declared)
    if not declared:
        return verdict
    return replace(verdict, declared=True, reason=f"{verdict.reason} (as declared for {declared})")


def _shared(a: Medium, b: Medium) -> Verdict | None:
    shared = [key for key in a.ids if key in b.ids]
    if not shared:
        return None
    things = "both lie on " + ", ".join(_thing(key, a) for key in shared)
    verdict = _same(things if a.label == b.label else f"{_name(a)} and {_name(b)} {things}")
    leaning = [medium for medium in (a, b) if medium.declared and shared == [medium.ids[0]]]
    return _resting(verdict, *leaning)


def _memory(a: Medium, b: Medium) -> Verdict | None:
    perishable = [medium for medium in (a, b) if medium.kind == "memory"]
    return _same(_in_memory(perishable[0])) if perishable else None


def _served_here(a: Medium, b: Medium) -> Verdict | None:
    """A server on this machine stores on disks of this machine, and nobody tells which."""
    for server, other in ((a, b), (b, a)):
        if _is_served_here(server) and other.machine:
            return _same(f"{_name(server)} is served by this machine, where {_name(other)} lies too")
    return None


def _untold(a: Medium, b: Medium) -> Verdict | None:
    for medium in (a, b):
        gap = medium.unresolved or ("" if medium.ids else "its disks are not known")
        if gap:
            return _undeclared(f"{_name(medium)}: {gap}")
    return None


def _sites(a: Medium, b: Medium) -> Verdict | None:
    if a.site and b.site and a.site != b.site:
        return _different(f"{_name(a)} is at {a.site}, {_name(b)} at {b.site}")
    return None


def _both_declared(a: Medium, b: Medium) -> Verdict | None:
    if a.declared and b.declared:
        return _different(f"{_name(a)} and {_name(b)} are different media")
    return None


def _shelved(a: Medium, b: Medium) -> Verdict | None:
    """A tape or a disc is never the same thing as a disk or a bucket."""
    if a.kind != b.kind and {a.kind, b.kind} & {"tape", "optical"}:
        return _different(f"{_name(a)} is {_article(a.kind)}, {_name(b)} {_article(b.kind)}")
    return None


def _server_beside_declaration(a: Medium, b: Medium) -> Verdict | None:
    """The disks of a server on this machine may be the very ones that a declaration speaks of."""
    for server, other in ((a, b), (b, a)):
        if _is_served_here(server) and other.declared:
            return _undeclared(f"{_name(server)} is served by this machine from unknown disks")
    return None


def _disk_and_store(a: Medium, b: Medium) -> Verdict | None:
    if {a.kind, b.kind} == {"disk", "object-store"}:
        store, disk = (a, b) if a.kind == "object-store" else (b, a)
        return _different(f"{_name(store)} is an object store away from {_name(disk)}")
    return None


def _stores(a: Medium, b: Medium) -> Verdict | None:
    """Two object stores: nothing but the provider tells whose disks they use."""
    if not a.kind == b.kind == "object-store":
        return None
    if a.provider and b.provider and a.provider != b.provider:
        return _different(f"{_name(a)} is at {a.provider}, {_name(b)} at {b.provider}")
    if a.machine != b.machine:
        return _different("one object store is served by this machine, the other is not")
    return _untold_stores(a, b)


def _untold_stores(a: Medium, b: Medium) -> Verdict:
    pair = f"{_name(a)} and {_name(b)}"
    if a.provider and a.provider == b.provider:
        return _undeclared(f"{pair} are both at {a.provider}, which may use the same disks")
    if _host(a) == _host(b):
        return _undeclared(f"{pair} are at one endpoint, which may use the same disks")
    return _unknown(f"whose disks {pair} use is not known; name their `provider:`")


def _disks(a: Medium, b: Medium) -> Verdict | None:
    if not a.kind == b.kind == "disk":
        return None
    hidden = [_name(medium) for medium in (a, b) if medium.virtual]
    if hidden:
        shown = " and ".join(hidden)
        return _undeclared(f"the hardware behind the virtual disks of {shown} is hidden")
    return _different(f"{_name(a)} and {_name(b)} share no disk")


Rule = Callable[[Medium, Medium], Verdict | None]
_RULES: tuple[Rule, ...] = (
    _shared,
    _memory,
    _served_here,
    _untold,
    _sites,
    _both_declared,
    _shelved,
    _server_beside_declaration,
    _disk_and_store,
    _stores,
    _disks,
)


# Several media


def largest_distinct(media: Mapping[str, Medium], apart_from: Sequence[Medium] = ()) -> Distinct:
    """The largest set of copies on different media, each also different from all of ``apart_from``.

    ``media`` goes by the copies' names in declared order, which decides between sets of one size.
    ``apart_from`` is the live data. Every subset is tried: an estate has few copies.
    """
    called = {name: replace(medium, label=name) for name, medium in media.items()}
    alone = {name: counts_alone(medium, apart_from) for name, medium in called.items()}
    return largest_set(alone, {(a, b): differ(called[a], called[b]) for a, b in combinations(called, 2)})


def largest_set(alone: Mapping[str, Verdict], pairs: Mapping[tuple[str, str], Verdict]) -> Distinct:
    """The largest set of names that each count alone and differ pairwise; ``pairs`` in the order of ``alone``."""
    sure = _largest(alone, pairs, (True,))
    fell_out = {name: _against(name, alone, pairs, sure) for name in alone if name not in sure}
    return Distinct(sure=sure, possible=_largest(alone, pairs, (True, None)), fell_out=MappingProxyType(fell_out))


def counts_alone(medium: Medium, apart_from: Sequence[Medium] = ()) -> Verdict:
    """The worst that keeps a copy from counting at all: it perishes, or shares the live data's medium."""
    if medium.kind == "memory":
        return _same(_in_memory(medium))
    verdicts = [differ(medium, other) for other in apart_from]
    verdicts.append(_different(f"{_name(medium)} is a medium of its own"))
    return gravest(verdicts)


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that speaks hardest against: no, then unknown, then yes; the first of equals."""
    return min(verdicts, key=lambda verdict: _SEVERITY[verdict.different])


def _largest(
    alone: Mapping[str, Verdict], pairs: Mapping[tuple[str, str], Verdict], accepted: tuple[bool | None, ...]
) -> tuple[str, ...]:
    fit = [name for name, verdict in alone.items() if verdict.different in accepted]
    for size in range(len(fit), 0, -1):
        for chosen in combinations(fit, size):
            if all(pairs[pair].different in accepted for pair in combinations(chosen, 2)):
                return chosen
    return ()


def _against(
    name: str, alone: Mapping[str, Verdict], pairs: Mapping[tuple[str, str], Verdict], sure: Sequence[str]
) -> Verdict:
    """What speaks hardest against a copy beside those that count."""
    beside = [pairs.get((name, other)) or pairs[other, name] for other in sure]
    return gravest((alone[name], *beside))


_SEVERITY: Mapping[bool | None, int] = MappingProxyType({False: 0, None: 1, True: 2})


# Words


def _name(medium: Medium) -> str:
    if medium.label:
        return medium.label
    return _thing(medium.ids[0], medium) if medium.ids else f"the {medium.kind} medium"


def _thing(key: str, medium: Medium) -> str:
    """``disk sda (wwn:0x5000…)``: what the kernel calls it, and what is printed on it."""
    device = dict(zip(medium.ids, medium.devices, strict=False)).get(key, "")
    if key.startswith("device:"):
        return f"disk {device or key.removeprefix('device:').partition('@')[0]}"
    if key.startswith(("wwn:", "serial:")):
        return f"disk {device} ({key})" if device else f"disk {key}"
    if key.startswith("bucket:"):
        return f"bucket {key.removeprefix('bucket:')}"
    return f"export {key.removeprefix('network:')}" if key.startswith("network:") else f"medium {key}"


def _in_memory(medium: Medium) -> str:
    return f"{_name(medium)} lies in memory, which is no lasting medium"


def _article(kind: Kind) -> str:
    return {"disk": "a disk", "object-store": "an object store", "tape": "a tape", "optical": "a disc"}.get(
        kind, f"a {kind} medium"
    )


def _host(medium: Medium) -> str:
    return medium.ids[0].removeprefix("bucket:").partition("/")[0]


def _is_served_here(medium: Medium) -> bool:
    return medium.machine and medium.kind in ("object-store", "network")


def _same(reason: str) -> Verdict:
    return Verdict(different=False, reason=reason)


def _different(reason: str) -> Verdict:
    return Verdict(different=True, reason=reason)


def _undeclared(reason: str) -> Verdict:
    return _unknown(f"{reason}; declare it with `medium:`")


def _unknown(reason: str) -> Verdict:
    return Verdict(different=None, reason=reason)
