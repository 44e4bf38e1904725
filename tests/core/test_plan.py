"""The order of tasks and its arithmetic."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drtool.core.plan import Graph, Path, Task, before, critical_path, cycles, finishes, tiers


def minutes(amount: int) -> timedelta:
    return timedelta(minutes=amount)


EXAMPLE: Graph = {  # the restart concept in the reference: 20 + 60 + 20 minutes to the shop
    "netz": Task(planned=minutes(20)),
    "dns": Task(needs=("netz",), planned=minutes(15)),
    "db1": Task(needs=("netz",), planned=minutes(60)),
    "web1": Task(needs=("netz", "dns"), planned=minutes(40)),
    "shop": Task(needs=("db1", "web1"), planned=minutes(20)),
}

NAMES = [f"task{number}" for number in range(8)]


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool = False) -> Graph:
    names = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]
    found = {}
    for place, name in enumerate(names):
        known = names[:place] if acyclic else [*names, "nobody"]
        needs = draw(st.lists(st.sampled_from(known), unique=True)) if known else []
        found[name] = Task(needs=tuple(needs), planned=minutes(draw(st.integers(0, 60))))
    return {name: found[name] for name in draw(st.permutations(names))}


def test_the_tiers_of_the_example() -> None:
    assert tiers(EXAMPLE) == (("netz",), ("dns", "db1"), ("web1",), ("shop",))


def test_the_critical_path_of_the_example() -> None:
    assert critical_path(EXAMPLE) == Path(names=("netz", "db1", "shop"), length=minutes(100))
    assert critical_path(EXAMPLE, "web1") == Path(names=("netz", "dns", "web1"), length=minutes(75))


def test_a_cycle_is_told_from_its_first_task_on() -> None:
    graph = {"a": Task(), "b": Task(needs=("d", "a")), "c": Task(needs=("b",)), "d": Task(needs=("c",))}
    assert cycles(graph) == (("b", "d", "c"),)
    assert tiers(graph) == (("a",),)
    assert critical_path(graph, "c") == Path()


def test_a_task_that_waits_for_itself_is_a_cycle() -> None:
    assert cycles({"a": Task(needs=("a",))}) == (("a",),)


def test_nothing_takes_no_time() -> None:
    assert critical_path({}) == Path()


@given(graphs())
def test_each_ring_closes_and_no_task_stands_in_two(graph: Graph) -> None:
    rings = cycles(graph)
    for ring in rings:
        assert all(second in graph[first].needs for first, second in pairwise((*ring, ring[0])))
    members = [name for ring in rings for name in ring]
    assert len(members) == len(set(members))
    assert bool(rings) == any(name in before(graph, name) for name in graph)


@given(graphs())
def test_whatever_does_not_wait_for_a_cycle_has_its_place_after_all_it_needs(graph: Graph) -> None:
    place = {name: tier for tier, names in enumerate(tiers(graph)) for name in names}
    on_cycle = {name for name in graph if name in before(graph, name)}
    assert place.keys() == {name for name in graph if not on_cycle & {name, *before(graph, name)}}
    for name, tier in place.items():
        assert tier == max((place[need] + 1 for need in graph[name].needs if need in graph), default=0)


@given(graphs(acyclic=True))
def test_the_critical_path_is_a_chain_from_a_start_whose_times_add_up_to_the_last_end(graph: Graph) -> None:
    path, ends = critical_path(graph), finishes(graph)
    assert not cycles(graph)
    assert path.length == max(ends.values(), default=timedelta())
    assert path.length == sum((graph[name].planned for name in path.names), timedelta())
    assert all(first in graph[second].needs for first, second in pairwise(path.names))
    assert not path.names or not graph[path.names[0]].needs


@given(graphs(acyclic=True))
def test_nothing_ends_before_what_it_needs_and_its_own_time(graph: Graph) -> None:
    ends = finishes(graph)
    for name, task in graph.items():
        for need in task.needs:
            assert ends[name] >= ends[need] + task.planned
