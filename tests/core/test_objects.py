"""The replication plan: what must hold whatever happens to the copies, and what it says of single cases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from drtool.core.objects import (
    Inventory,
    Plan,
    Send,
    agreeing,
    digest_of,
    disputed,
    is_key,
    key_of_snapshot,
    kind_of,
    plan_replication,
    total,
)

# A model of repositories: what an index lists and a snapshot needs


def key(kind: str, name: object) -> str:
    digest = hashlib.sha256(f"{kind} {name}".encode()).hexdigest()
    return f"data/{digest[:2]}/{digest}" if kind == "data" else f"{kind}/{digest}"


KEY = key("keys", "first")


@dataclass
class Meaning:
    """What restic, who knows the password, would read in the objects. drtool never sees this."""

    listed: dict[str, frozenset[str]] = field(default_factory=dict)  # packs by index
    needed: dict[str, frozenset[str]] = field(default_factory=dict)  # packs by snapshot

    def faults(self, held: Inventory) -> list[str]:
        """Why a copy with these intact objects is no valid repository."""
        packs = {one for one in held if kind_of(one) == "data"}
        indexed = frozenset[str]().union(*(self.listed[one] for one in held if kind_of(one) == "index"))
        faults = [f"an index lists {pack[:12]}, which is not there" for pack in indexed - packs]
        for one in held:
            if kind_of(one) == "snapshots" and self.needed[one] - indexed:
                faults.append(f"{one[:16]} needs packs that no index lists")
        if any(kind_of(one) in ("data", "index", "snapshots") for one in held) and not {KEY, "config"} <= held.keys():
            faults.append("it cannot be opened")
        return faults


@dataclass
class Medium:
    """What lies in a copy: intact objects and altered ones; whether it can be reached."""

    intact: dict[str, int] = field(default_factory=dict)
    altered: dict[str, int] = field(default_factory=dict)
    reached: bool = True

    @property
    def held(self) -> dict[str, int]:
        return self.intact | self.altered


COPIES = ("disk", "offsite", "usb")


class Estate(RuleBasedStateMachine):
    """Runs, losses, alterations, outages, prunes and crashes in any order, over up to three copies.

    Two things no plan can know of who has only names, so they are left out: that something was lost which a
    killed run wrote and nobody recorded; and that restic builds upon what was removed elsewhere and is still
    kept here. So a writer lets go of what was removed before restic writes into it.
    """

    @initialize(count=st.integers(2, 3))
    def begin(self, count: int) -> None:
        self.meaning = Meaning()
        self.media = {name: Medium() for name in COPIES[:count]}
        self.recorded: dict[str, dict[str, int]] = {name: {} for name in self.media}
        self.removed: set[str] = set()
        self.numbers = 0
        for medium in self.media.values():
            medium.intact.update({KEY: 400, "config": 150})

    def plan(self) -> Plan:
        reached = {name: medium for name, medium in self.media.items() if medium.reached}
        return plan_replication(
            {name: medium.held for name, medium in reached.items()},
            recorded=self.recorded,
            altered={name: frozenset(medium.altered) for name, medium in reached.items()},
            removed=frozenset(self.removed),
        )

    def act(self, sends: Sequence[Send]) -> None:
        """Do these sends; a copy that was valid stays so after each of them."""
        sound = {name for name, medium in self.media.items() if not self.faults(name)}
        for send in sends:
            source, target = self.media[send.source], self.media[send.target]
            assert send.key in source.intact, "an object is sent from where it is not intact"
            assert send.key not in self.removed, "what was removed is sent"
            assert send.key not in target.intact, "an object is sent to where it is"
            target.altered.pop(send.key, None)
            target.intact[send.key] = send.size
            if send.target in sound:
                assert not self.faults(send.target), f"{send.target} is broken by {send.key[:16]}"

    def faults(self, name: str) -> list[str]:
        return self.meaning.faults(self.media[name].intact)

    def record(self, plan: Plan) -> None:
        """What is there, and what is lost and not forgotten."""
        for name, medium in self.media.items():
            if medium.reached:
                remembered = plan.lost.get(name, frozenset()) | plan.altered.get(name, frozenset())
                self.recorded[name] = {**dict.fromkeys(remembered, 1), **medium.intact}

    def reached(self) -> list[str]:
        return [name for name, medium in self.media.items() if medium.reached]

    # What happens

    @precondition(lambda self: self.reached())
    @rule(data=st.data(), fresh=st.integers(0, 3), reuse=st.booleans(), upto=st.integers(0, 10))
    def run(self, data: st.DataObject, fresh: int, reuse: bool, upto: int) -> None:
        """A run as ``back_up`` does it: heal the writer, let restic write, replicate, perhaps only in part, record."""
        writer = data.draw(st.sampled_from(self.reached()))
        self.act([send for send in self.plan().sends if send.target == writer])
        damage = self.plan().damage(writer)
        if not damage and not self.faults(writer):
            self.restic(self.media[writer].intact, fresh, reuse)
        plan = self.plan()
        if upto < 10:
            self.act(plan.sends[: len(plan.sends) * upto // 10])
        else:
            self.act(plan.sends)
        self.record(self.plan())

    def restic(self, held: dict[str, int], fresh: int, reuse: bool) -> None:
        """New packs, an index of them, and a snapshot that needs them and some of the old ones."""
        self.let_go(held)
        self.numbers += 1
        packs = frozenset(key("data", (self.numbers, part)) for part in range(fresh))
        reachable = frozenset[str]().union(*(self.meaning.listed[one] for one in held if kind_of(one) == "index"))
        held.update(dict.fromkeys(packs, 100))
        if packs:
            index = key("index", self.numbers)
            self.meaning.listed[index] = packs
            held[index] = 10
        snapshot = key("snapshots", self.numbers)
        self.meaning.needed[snapshot] = packs | (reachable if reuse else frozenset())
        held[snapshot] = 5

    def let_go(self, held: dict[str, int]) -> None:
        for one in self.removed:
            held.pop(one, None)

    @precondition(lambda self: self.reached())
    @rule(data=st.data(), fresh=st.integers(1, 3), upto=st.integers(0, 5))
    def killed_run(self, data: st.DataObject, fresh: int, upto: int) -> None:
        """A run that dies somewhere in the replication, before it records anything."""
        writer = data.draw(st.sampled_from(self.reached()))
        self.act([send for send in self.plan().sends if send.target == writer])
        if not self.plan().damage(writer) and not self.faults(writer):
            self.restic(self.media[writer].intact, fresh, True)
        plan = self.plan()
        self.act(plan.sends[: len(plan.sends) * upto // 5])

    @precondition(lambda self: self.reached())
    @rule()
    def look(self) -> None:
        """A run that changes nothing still records what is there."""
        self.record(self.plan())

    @rule(data=st.data())
    def outage(self, data: st.DataObject) -> None:
        medium = self.media[data.draw(st.sampled_from(sorted(self.media)))]
        medium.reached = not medium.reached

    @rule(data=st.data(), alter=st.booleans())
    def damage(self, data: st.DataObject, alter: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.media)))
        medium = self.media[name]
        known = sorted((medium.intact.keys() & self.recorded[name].keys()) - self.removed - {KEY, "config"})
        for one in data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else ():
            size = medium.intact.pop(one)
            if alter:
                medium.altered[one] = size

    @precondition(lambda self: all(medium.reached for medium in self.media.values()))
    @rule(data=st.data())
    def prune(self, data: st.DataObject) -> None:
        """Remove a snapshot in one copy, and the packs that no other needs; the others keep theirs for now."""
        self.act(self.plan().sends)
        plan = self.plan()
        name = data.draw(st.sampled_from(sorted(self.media)))
        held = self.media[name].intact
        self.let_go(held)
        snapshots = sorted(one for one in held if kind_of(one) == "snapshots")
        if plan.unhealable or self.faults(name) or not snapshots:
            return
        self.record(plan)
        gone = {data.draw(st.sampled_from(snapshots))}
        kept = frozenset[str]().union(*(self.meaning.needed[one] for one in snapshots if one not in gone))
        indexes = {one for one in held if kind_of(one) == "index"}
        packs = {one for one in held if kind_of(one) == "data" and one not in kept}
        if packs:
            self.numbers += 1
            index = key("index", self.numbers)
            self.meaning.listed[index] = frozenset(one for one in held if kind_of(one) == "data") - packs
            held[index] = 10
            gone |= packs | indexes
        self.removed |= gone
        for one in gone:
            held.pop(one, None)

    # What must hold

    @invariant()
    def what_is_gone_everywhere_is_named(self) -> None:
        """Everything recorded that no reached copy holds intact is named, and nothing else is."""
        reached = {name: self.media[name] for name in self.reached()}
        known = {one for name, medium in reached.items() for one in (*self.recorded[name], *medium.held)}
        intact = {one for medium in reached.values() for one in medium.intact}
        assert self.plan().unhealable == known - intact - self.removed

    @invariant()
    def what_is_withheld_is_sent_to_nobody(self) -> None:
        plan = self.plan()
        assert not {send.key for send in plan.sends} & plan.withheld

    @invariant()
    def kinds_come_in_their_order(self) -> None:
        plan = self.plan()
        assert tuple(send for stage in plan.stages() for send in stage) == plan.sends

    @invariant()
    def copies_become_equal_as_soon_as_all_are_back(self) -> None:
        """Once all are reachable, one run makes them equal, if nothing is gone everywhere."""
        before = {name: (dict(one.intact), dict(one.altered), one.reached) for name, one in self.media.items()}
        for medium in self.media.values():
            medium.reached = True
        plan = self.plan()
        self.act(plan.sends)
        if not plan.unhealable:
            assert all(agreeing(self.inventories(), frozenset(self.removed)).values())
            assert not self.plan().sends
            assert not any(self.plan().damage(name) for name in self.media)
            assert not any(self.faults(name) for name in self.media)
        for name, (intact, altered, reached) in before.items():
            self.media[name] = Medium(intact=intact, altered=altered, reached=reached)

    def inventories(self) -> Mapping[str, Inventory]:
        return {name: medium.held for name, medium in self.media.items()}


TestEstate = Estate.TestCase
# Not shrunk: a history is read more quickly than a smaller one is found.
TestEstate.settings = settings(
    max_examples=60, stateful_step_count=12, phases=[Phase.explicit, Phase.reuse, Phase.generate], deadline=None
)


class OutOfOrder(Estate):
    def plan(self) -> Plan:
        plan = super().plan()
        return replace(plan, sends=plan.sends[::-1])


class Forgetful(Estate):
    """Does not know what copies held."""

    def plan(self) -> Plan:
        kept, self.recorded = self.recorded, {}
        try:
            return super().plan()
        finally:
            self.recorded = kept


class Trusting(Estate):
    """Believes that altered objects are intact."""

    def plan(self) -> Plan:
        return plan_replication(self.inventories(), recorded=self.recorded, removed=frozenset(self.removed))


class Reviving(Estate):
    """Does not know what was removed."""

    def plan(self) -> Plan:
        kept, self.removed = self.removed, set()
        try:
            return super().plan()
        finally:
            self.removed = kept


@pytest.mark.parametrize("broken", [OutOfOrder, Forgetful, Trusting, Reviving])
def test_the_model_notices_a_planner_that(broken: type[Estate]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            broken,
            settings=settings(
                max_examples=500,
                stateful_step_count=12,
                phases=[Phase.generate],
                deadline=None,
                database=None,
                report_multiple_bugs=False,
            ),
        )


# Single cases

PACK, OTHER = key("data", "p"), key("data", "q")
INDEX, SNAPSHOT = key("index", "i"), key("snapshots", "s")
WHOLE = {KEY: 4, "config": 1, PACK: 100, INDEX: 10, SNAPSHOT: 5}


def without(held: Inventory, *keys: str) -> dict[str, int]:
    return {one: size for one, size in held.items() if one not in keys}


def sent(plan: Plan) -> list[tuple[str, str, str]]:
    return [(send.key, send.source, send.target) for send in plan.sends]


def test_equal_copies_need_nothing() -> None:
    plan = plan_replication({"disk": WHOLE, "offsite": WHOLE}, recorded={"disk": WHOLE, "offsite": WHOLE})
    assert plan == Plan()


def test_an_empty_copy_gets_what_opens_it_first_and_snapshots_last() -> None:
    plan = plan_replication({"disk": WHOLE, "offsite": {}}, recorded={})
    assert [send.key for send in plan.sends] == [KEY, "config", PACK, INDEX, SNAPSHOT]


def test_copies_exchange_what_each_has_alone() -> None:
    here, there = without(WHOLE, OTHER), {**without(WHOLE, PACK), OTHER: 50}
    plan = plan_replication({"disk": here, "offsite": there}, recorded={})
    assert set(sent(plan)) == {(PACK, "disk", "offsite"), (OTHER, "offsite", "disk")}


def test_the_first_copy_is_preferred_as_source() -> None:
    plan = plan_replication({"disk": WHOLE, "offsite": WHOLE, "usb": without(WHOLE, PACK)}, recorded={})
    assert sent(plan) == [(PACK, "disk", "usb")]


def test_what_a_copy_lost_is_named_and_healed() -> None:
    plan = plan_replication({"disk": without(WHOLE, PACK), "offsite": WHOLE}, recorded={"disk": WHOLE})
    assert (plan.lost, sent(plan)) == ({"disk": {PACK}}, [(PACK, "offsite", "disk")])


def test_an_altered_object_is_replaced_and_never_a_source() -> None:
    plan = plan_replication(
        {"disk": WHOLE, "offsite": WHOLE, "usb": without(WHOLE, PACK)},
        recorded={},
        altered={"disk": frozenset({PACK})},
    )
    assert sent(plan) == [(PACK, "offsite", "disk"), (PACK, "offsite", "usb")]


def test_what_no_copy_holds_intact_is_unhealable() -> None:
    plan = plan_replication(
        {"disk": without(WHOLE, PACK), "offsite": WHOLE},
        recorded={"disk": WHOLE},
        altered={"offsite": frozenset({PACK})},
    )
    assert (plan.unhealable, plan.sends) == ({PACK}, ())


def test_what_may_refer_to_something_gone_everywhere_stays_where_it_is() -> None:
    damaged = without(WHOLE, PACK)
    plan = plan_replication({"disk": damaged, "offsite": {KEY: 4, "config": 1}}, recorded={"disk": WHOLE})
    assert (plan.withheld, plan.sends) == ({INDEX, SNAPSHOT}, ())


def test_packs_of_a_damaged_copy_are_still_saved() -> None:
    damaged = {**without(WHOLE, PACK), OTHER: 50}
    plan = plan_replication({"disk": damaged, "offsite": {KEY: 4, "config": 1}}, recorded={"disk": WHOLE})
    assert sent(plan) == [(OTHER, "disk", "offsite")]


def test_a_sound_copy_passes_on_what_a_damaged_one_holds_too() -> None:
    """The sound copy holds the index, so all that it lists is there or was never needed."""
    damaged, sound = without(WHOLE, PACK), without(WHOLE, PACK, SNAPSHOT)
    plan = plan_replication({"disk": damaged, "offsite": sound, "usb": {}}, recorded={"disk": WHOLE})
    assert (INDEX, "offsite", "usb") in sent(plan)
    assert plan.withheld == {SNAPSHOT}


def test_what_was_removed_is_neither_lost_nor_sent() -> None:
    plan = plan_replication(
        {"disk": without(WHOLE, SNAPSHOT), "offsite": WHOLE}, recorded={"disk": WHOLE}, removed=frozenset({SNAPSHOT})
    )
    assert plan == Plan()


def test_a_copy_out_of_reach_is_planned_for_by_nobody() -> None:
    plan = plan_replication({"disk": WHOLE}, recorded={"disk": WHOLE, "offsite": WHOLE})
    assert plan == Plan()


def test_damage_is_what_is_lost_and_what_is_altered() -> None:
    plan = plan_replication(
        {"disk": without(WHOLE, PACK), "offsite": WHOLE},
        recorded={"disk": WHOLE},
        altered={"disk": frozenset({INDEX})},
    )
    assert plan.damage("disk") == {PACK, INDEX}


# Doubts and agreement


def test_different_sizes_are_a_dispute_in_every_copy_that_holds_the_object() -> None:
    assert disputed({"disk": {PACK: 1}, "offsite": {PACK: 2}, "usb": {}}, {}) == {"disk": {PACK}, "offsite": {PACK}}


def test_a_size_other_than_recorded_is_a_dispute() -> None:
    assert disputed({"disk": {PACK: 1}}, {"offsite": {PACK: 2}}) == {"disk": {PACK}}


def test_equal_sizes_are_no_dispute() -> None:
    assert disputed({"disk": WHOLE, "offsite": WHOLE}, {"disk": WHOLE}) == {}


def test_copies_agree_that_hold_the_same() -> None:
    assert agreeing({"disk": WHOLE, "offsite": dict(WHOLE)}) == {"disk": True, "offsite": True}


def test_a_copy_that_lacks_something_does_not_agree() -> None:
    assert agreeing({"disk": WHOLE, "offsite": without(WHOLE, PACK)}) == {"disk": True, "offsite": False}


def test_copies_that_each_lack_something_do_not_agree() -> None:
    both = {"disk": without(WHOLE, PACK), "offsite": without(WHOLE, INDEX)}
    assert agreeing(both) == {"disk": False, "offsite": False}


def test_no_copy_agrees_about_an_object_of_two_sizes() -> None:
    """Which of them is right only reading tells."""
    assert agreeing({"disk": {PACK: 1}, "offsite": {PACK: 2}}) == {"disk": False, "offsite": False}


def test_what_was_removed_does_not_spoil_agreement() -> None:
    both = {"disk": without(WHOLE, PACK), "offsite": WHOLE}
    assert agreeing(both, frozenset({PACK})) == {"disk": True, "offsite": True}


# Names


@pytest.mark.parametrize("name", ["config", KEY, PACK, INDEX, SNAPSHOT])
def test_objects_are_told_by_their_names(name: str) -> None:
    assert is_key(name)


@pytest.mark.parametrize(
    "name",
    ["", "config/", "/config", f"{PACK}-tmp-1", f"{PACK}\n", f"locks/{'a' * 64}", f"data/00/{'f' * 64}", f"x{INDEX}",
     INDEX.upper(), f"index/../{'a' * 64}", "drtool/copy.json"],
)  # fmt: skip
def test_everything_else_is_no_object(name: str) -> None:
    assert not is_key(name)


@settings(deadline=None)
@given(st.binary())
def test_an_object_is_named_by_the_digest_of_its_bytes(content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    assert digest_of(f"data/{digest[:2]}/{digest}") == digest_of(f"index/{digest}") == digest


def test_the_configuration_carries_no_digest() -> None:
    assert digest_of("config") is None


def test_a_snapshot_is_an_object_of_its_kind() -> None:
    assert kind_of(key_of_snapshot("a" * 64)) == "snapshots"


def test_the_total_is_the_sum_of_sizes() -> None:
    assert total(WHOLE) == 120
