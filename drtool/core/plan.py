"""The arithmetic of an order: what waits for what, in which tiers, and how long all of it takes.

A graph names each task with the tasks before it and its planned time. Needs that are not in the graph count for
nothing. What lies on a cycle, or waits for one, has no place in the order and is left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from graphlib import CycleError, TopologicalSorter

Names = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What must be done before, and how long it is planned to take."""

    needs: Names = ()
    planned: timedelta = field(default=timedelta())


Graph = Mapping[str, Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Tasks that wait for one another, first to last, and how long they take together."""

    names: Names = ()
    length: timedelta = field(default=timedelta())


def before(graph: Graph, name: str) -> frozenset[str]:
    """Everything that must be done before a task, directly or not; on a cycle that is the task itself, too."""
    seen: set[str] = set()
    waiting = list(_needs(graph, name))
    while waiting:
        need = waiting.pop()
        if need not in seen:
            seen.add(need)
            waiting += _needs(graph, need)
    return frozenset(seen)


def cycles(graph: Graph) -> tuple[Names, ...]:
    """Tasks that wait for one another in a ring, one ring after the other; each task stands in one at most.

    A ring begins with the task that the graph names first; each waits for the one after it, the last for the first.
    """
    rings: list[Names] = []
    left = dict(graph)
    while ring := _one_cycle(left):
        rings.append(ring)
        left = {name: task for name, task in left.items() if name not in ring}
    order = {name: place for place, name in enumerate(graph)}
    return tuple(sorted(rings, key=lambda ring: order[ring[0]]))


def tiers(graph: Graph) -> tuple[Names, ...]:
    """What can be begun at once, then what waits only for those, and so on; inside a tier in the graph's order."""
    sound = _sound(graph)
    sorter = TopologicalSorter({name: _needs(sound, name) for name in sound})
    sorter.prepare()
    order = {name: place for place, name in enumerate(graph)}
    found: list[Names] = []
    while sorter.is_active():
        tier = tuple(sorted(sorter.get_ready(), key=order.__getitem__))
        found.append(tier)
        sorter.done(*tier)
    return tuple(found)


def finishes(graph: Graph) -> Mapping[str, timedelta]:
    """When each task ends at the earliest, where each begins as soon as it can; in the order of the tiers."""
    ends: dict[str, timedelta] = {}
    for tier in tiers(graph):
        for name in tier:
            start = max((ends[need] for need in _needs(graph, name)), default=timedelta())
            ends[name] = start + graph[name].planned
    return ends


def critical_path(graph: Graph, to: str | None = None) -> Path:
    """The tasks that decide how long it takes, to one task or to the end of all. Empty where there is no order."""
    ends = finishes(graph)
    last = to if to is not None else max(ends, key=ends.__getitem__, default="")
    if last not in ends:
        return Path()
    names = [last]
    while needs := _needs(graph, names[0]):
        names.insert(0, max(needs, key=ends.__getitem__))
    return Path(names=tuple(names), length=ends[last])


def _needs(graph: Graph, name: str) -> Names:
    return tuple(need for need in graph[name].needs if need in graph)


def _one_cycle(graph: Graph) -> Names:
    try:
        TopologicalSorter({name: _needs(graph, name) for name in graph}).prepare()
    except CycleError as error:
        ring = tuple(reversed(error.args[1][1:]))  # graphlib goes from what is waited for to what waits
        first = ring.index(next(name for name in graph if name in ring))
        return ring[first:] + ring[:first]
    return ()


def _sound(graph: Graph) -> Graph:
    return {name: task for name, task in graph.items() if not _behind_a_cycle(graph, name)}


def _behind_a_cycle(graph: Graph, name: str) -> bool:
    return any(one in before(graph, one) for one in (name, *before(graph, name)))
