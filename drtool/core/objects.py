"""Inventories of copies, and the plan that makes them equal again.

An object is named by its key, the path below the repository's root (restic's default layout):
``config``, ``keys/ID``, ``data/ab/ID``, ``index/ID``, ``snapshots/ID``. ``ID`` is the SHA-256 of
the object's bytes, for every kind but ``config``. Two copies agree exactly when their inventories
(key -> size in bytes) agree, because an object never changes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

type_of_key = re.compile(r"config|(?:keys|index|snapshots)/[0-9a-f]{64}|data/([0-9a-f]{2})/\1[0-9a-f]{62}")

# A copy filled in this order is a valid restic repository after every single object: what opens
# it first, then what indexes refer to, then what snapshots refer to, then the snapshots.
KINDS = ("keys", "config", "data", "index", "snapshots")

Inventory = Mapping[str, int]
EMPTY: Inventory = MappingProxyType({})
ALTERED = -1  # recorded as the size of an object found altered: no object has it, so the next look reads it again


def is_key(text: str) -> bool:
    """Whether ``text`` names an object; temporary files, locks and foreign files do not."""
    return type_of_key.fullmatch(text) is not None


def kind_of(key: str) -> str:
    return key.partition("/")[0]


def digest_of(key: str) -> str | None:
    """The SHA-256 (hex) that the object's bytes must have; None for ``config``, which carries none."""
    return None if key == "config" else key.rpartition("/")[2]


def key_of_snapshot(snapshot: str) -> str:
    return f"snapshots/{snapshot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One object to bring from one copy to another."""

    key: str
    size: int
    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What makes the copies equal, in the order in which it must be done.

    ``lost`` and ``altered`` say what a copy once held, or holds no longer intact, though nobody
    removed it. ``unhealable`` is what no copy holds intact any more. ``withheld`` are keys that
    stay where they are, because they may refer to something unhealable and would make a
    sound copy unsound.
    """

    sends: tuple[Send, ...] = ()
    lost: Mapping[str, frozenset[str]] = field(default_factory=dict)
    altered: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unhealable: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()

    def stages(self) -> Iterator[tuple[Send, ...]]:
        """The sends kind by kind; one stage must be finished before the next begins."""
        for kind in KINDS:
            if stage := tuple(send for send in self.sends if kind_of(send.key) == kind):
                yield stage

    def damage(self, copy: str) -> frozenset[str]:
        """What the copy lacks or holds altered, though nobody removed it."""
        return self.lost.get(copy, frozenset()) | self.altered.get(copy, frozenset())


def plan_replication(
    present: Mapping[str, Inventory],
    *,
    recorded: Mapping[str, Inventory],
    altered: Mapping[str, frozenset[str]] = MappingProxyType({}),
    removed: frozenset[str] = frozenset(),
) -> Plan:
    """What to send so that every copy in ``present`` holds every object that is not ``removed``.

    ``present`` holds the copies that can be reached now, in order of preference as sources;
    ``recorded`` what each copy (reached or not) is known to have held after the last run;
    ``altered`` the keys whose bytes were found not to match, by copy.
    """
    intact = {name: without(held, altered.get(name, frozenset())) for name, held in present.items()}
    lost = {
        name: frozenset(key for key in recorded.get(name, EMPTY) if key not in held and key not in removed)
        for name, held in present.items()
    }
    known = {key for held in present.values() for key in held}.union(*lost.values()) - removed
    holders = {key: [name for name, held in intact.items() if key in held] for key in known}
    unhealable = frozenset(key for key, names in holders.items() if not names)
    unsound = {name for name in present if unhealable & (lost[name] | altered.get(name, frozenset()))}

    sends, withheld = [], set()
    for key in sorted(known - unhealable, key=_order):
        sources = [name for name in holders[key] if name not in unsound or kind_of(key) not in REFERRING]
        for target in (name for name, held in intact.items() if key not in held):
            if sources:
                sends.append(Send(key=key, size=intact[sources[0]][key], source=sources[0], target=target))
            else:
                withheld.add(key)
    return Plan(
        sends=tuple(sends),
        lost={name: keys for name, keys in lost.items() if keys},
        altered={name: keys for name, keys in altered.items() if keys and name in present},
        unhealable=unhealable,
        withheld=frozenset(withheld),
    )


# The kinds whose objects refer to others, so that they must not reach a copy before those.
REFERRING = ("index", "snapshots")


def disputed(present: Mapping[str, Inventory], recorded: Mapping[str, Inventory]) -> Mapping[str, frozenset[str]]:
    """By copy, the keys whose size differs from another copy's or from the record.

    An object never changes its size, so at least one side is altered; only reading tells which.
    """
    sizes: dict[str, int] = {}
    doubtful: set[str] = set()
    for held in (*recorded.values(), *present.values()):
        for key, size in held.items():
            if sizes.setdefault(key, size) != size:
                doubtful.add(key)
    return {name: keys for name, held in present.items() if (keys := frozenset(doubtful & held.keys()))}


def agreeing(present: Mapping[str, Inventory], removed: frozenset[str] = frozenset()) -> Mapping[str, bool]:
    """Whether each copy holds exactly what all copies together hold (verification level L0).

    Where two copies hold an object in different sizes, none agrees: which is right, only reading tells.
    """
    left = {name: without(held, removed).items() for name, held in present.items()}
    expected = {item for held in left.values() for item in held}
    return {name: held == expected for name, held in left.items()}


def to_remember(held: Inventory, before: Inventory, lost: Iterable[str], altered: Iterable[str]) -> Inventory:
    """What to record of a copy: what it holds, and what it should hold, so that a loss is not forgotten."""
    missing = {key: before[key] for key in lost if key in before and key not in held}
    return {**held, **missing, **dict.fromkeys(altered, ALTERED)}


def newly_doubted(before: Inventory, now: Inventory) -> frozenset[str]:
    """What somebody else recorded as altered while a run was under way that began with the record ``before``."""
    return frozenset(key for key, size in now.items() if size == ALTERED and before.get(key) != ALTERED)


def by_kind(keys: Iterable[str]) -> dict[str, int]:
    """How many of the keys are of which kind."""
    return dict(Counter(sorted(map(kind_of, keys))))


def total(inventory: Inventory) -> int:
    """The bytes of all objects together."""
    return sum(inventory.values())


def without(held: Inventory, keys: Iterable[str]) -> dict[str, int]:
    """The inventory without these keys, which need not be in it."""
    left = dict(held)
    for key in keys:
        left.pop(key, None)
    return left


def _order(key: str) -> tuple[int, str]:
    return KINDS.index(kind_of(key)), key
