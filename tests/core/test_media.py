from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtool.core.media import (
    BlockNode,
    Medium,
    bucket_medium,
    declared_medium,
    differ,
    largest_distinct,
    medium_of_tree,
    physical_disks,
)


def disk(*ids: str, label: str = "", virtual: bool = False, unresolved: str = "", site: str = "") -> Medium:
    return Medium(
        kind="disk",
        ids=ids,
        machine=True,
        virtual=virtual,
        unresolved=unresolved,
        label=label,
        site=site or None,
    )


SDA = disk("wwn:0xa", label="disk")
SDB = disk("wwn:0xb", label="second")
VDA = disk("device:vda@1f", label="disk", virtual=True)
VDB = disk("device:vdb@1f", label="second", virtual=True)
MEMORY = Medium(kind="memory", machine=True, label="ram")
LOOPBACK = bucket_medium(host="127.0.0.1:9000", bucket="b", machine=True, label="offsite")
REMOTE = bucket_medium(host="s3.example.net", bucket="b", label="offsite")
NAS_GAP = "the disks behind nfs4 server nas:/x cannot be seen"
NAS = Medium(kind="network", ids=("network:nas:/x",), unresolved=NAS_GAP, label="nas")


def verdict(a: Medium, b: Medium) -> tuple[bool | None, str]:
    result = differ(a, b)
    assert differ(b, a).different == result.different
    return result.different, result.reason


# Disks


def test_two_sets_of_real_disks_without_a_common_one_are_different() -> None:
    mirror = disk("wwn:0xc", "wwn:0xd", label="mirror")
    assert verdict(SDA, mirror) == (True, "disk and mirror share no disk")


def test_a_common_disk_makes_two_media_one() -> None:
    mirror = replace(disk("wwn:0xc", "wwn:0xa", label="mirror"), devices=("sdc", "sda"))
    assert verdict(mirror, SDA) == (False, "mirror and disk both lie on disk sda (wwn:0xa)")


def test_the_reason_calls_a_nameless_disk_as_the_kernel_does() -> None:
    assert verdict(replace(VDA, label=""), replace(VDA, label="")) == (False, "both lie on disk vda")


def test_different_virtual_disks_may_lie_on_one_piece_of_hardware() -> None:
    assert verdict(VDA, VDB) == (
        None,
        "the hardware behind the virtual disks of disk and second is hidden; declare it with `medium:`",
    )


def test_a_virtual_disk_beside_a_real_one_is_unknown() -> None:
    assert differ(VDB, SDA).different is None


def test_the_same_virtual_disk_is_the_same_medium() -> None:
    assert differ(VDA, replace(VDA, label="other")).different is False


# What is not known to its end


def test_a_share_is_unknown_until_it_is_declared() -> None:
    assert verdict(SDA, NAS) == (None, f"nas: {NAS_GAP}; declare it with `medium:`")


def test_half_a_mirror_that_cannot_be_seen_is_unknown() -> None:
    half = disk("wwn:0xc", label="mirror", unresolved="block device sdb2 is not in /sys")
    assert differ(half, SDA).different is None


def test_half_a_mirror_is_the_same_medium_when_its_seen_half_is_shared() -> None:
    half = disk("wwn:0xa", label="mirror", unresolved="block device sdb2 is not in /sys")
    assert differ(half, SDA).different is False


def test_one_share_twice_is_one_medium() -> None:
    assert verdict(NAS, replace(NAS, label="other")) == (False, "nas and other both lie on export nas:/x")


def test_a_medium_of_which_nothing_is_known_is_unknown() -> None:
    assert differ(disk(label="empty"), SDA).different is None


# Memory


@pytest.mark.parametrize("other", [SDA, REMOTE, NAS, LOOPBACK])
def test_memory_is_never_another_medium(other: Medium) -> None:
    assert verdict(MEMORY, other) == (False, "ram lies in memory, which is no lasting medium")


# Servers on this machine


def test_a_store_on_this_machine_is_no_other_medium_than_its_disks() -> None:
    assert verdict(LOOPBACK, SDA) == (False, "offsite is served by this machine, where disk lies too")


def test_two_stores_on_this_machine_are_not_different() -> None:
    second = bucket_medium(host="localhost:9001", bucket="c", machine=True)
    assert differ(LOOPBACK, second).different is False


def test_a_store_elsewhere_is_different_from_one_on_this_machine() -> None:
    assert differ(LOOPBACK, replace(REMOTE, label="far")).different is True


def test_a_store_on_this_machine_beside_a_declared_disk_is_unknown() -> None:
    assert differ(LOOPBACK, declared_medium(kind="disk", identity="host-ssd", seen=VDA)).different is None


def test_a_share_that_this_machine_serves_to_itself_is_no_other_medium() -> None:
    assert differ(replace(NAS, machine=True), SDA).different is False


# Object stores


@pytest.mark.parametrize("local", [SDA, VDA])
def test_a_store_elsewhere_is_another_medium_than_a_local_disk(local: Medium) -> None:
    assert verdict(REMOTE, local) == (True, "offsite is an object store away from disk")


def store(host: str, bucket: str, provider: str | None = None) -> Medium:
    return bucket_medium(host=host, bucket=bucket, provider=provider)


@pytest.mark.parametrize(
    ("a", "b", "different"),
    [
        (store("one.net", "x", "one"), store("one.net", "x", "one"), False),
        (store("one.net", "x", "one"), store("one.net", "x", "two"), False),
        (store("one.net", "x", "one"), store("two.net", "x", "two"), True),
        (store("one.net", "x", "one"), store("one.net", "y", "one"), None),
        (store("one.net", "x", "one"), store("eu.one.net", "x", "one"), None),
        (store("one.net", "x"), store("one.net", "y"), None),
        (store("one.net", "x"), store("two.net", "x"), None),
        (store("one.net", "x", "one"), store("two.net", "x"), None),
    ],
)
def test_two_stores_are_told_by_bucket_and_provider(a: Medium, b: Medium, different: bool | None) -> None:
    assert verdict(a, b)[0] is different


def test_two_stores_of_one_provider_at_different_sites_are_different() -> None:
    a, b = store("eu.one.net", "x", "one"), store("us.one.net", "x", "one")
    assert differ(replace(a, site="eu"), replace(b, site="us")).different is True


def test_two_stores_whose_providers_are_not_named_ask_for_them() -> None:
    result = verdict(store("one.net", "x"), store("two.net", "x"))
    assert result == (
        None,
        "whose disks bucket x at one.net and bucket x at two.net use is not known; name their `provider:`",
    )


# Declarations


def test_two_declared_media_are_believed_and_the_reason_says_so() -> None:
    a = declared_medium(kind="disk", identity="ssd-1", seen=VDA)
    b = declared_medium(kind="disk", identity="ssd-2", seen=VDB)
    result = differ(a, b)
    assert (result.different, result.declared) == (True, True)
    assert result.reason == "disk and second are different media (as declared for disk and second)"


def test_two_media_declared_with_one_id_are_one() -> None:
    a = declared_medium(kind="disk", identity="ssd-1", seen=VDA)
    b = declared_medium(kind="disk", identity="ssd-1", seen=VDB)
    assert verdict(a, b) == (
        False,
        "disk and second both lie on medium ssd-1 (as declared for disk and second)",
    )


def test_declarations_cannot_make_one_disk_into_two_media() -> None:
    a = declared_medium(kind="disk", identity="ssd-1", seen=VDA)
    b = declared_medium(kind="disk", identity="ssd-2", seen=replace(VDA, label="other"))
    result = differ(a, b)
    assert (result.different, result.declared) == (False, False)
    assert result.reason == "disk and other both lie on disk vda"


def test_a_declaration_cannot_make_memory_last() -> None:
    assert differ(declared_medium(kind="disk", identity="ssd-1", seen=MEMORY), SDA).different is False


def test_a_declared_share_is_another_medium_than_a_real_disk() -> None:
    result = differ(declared_medium(kind="disk", identity="nas-array", seen=NAS), SDA)
    assert (result.different, result.declared) == (True, True)


def test_a_declared_disk_beside_an_undeclared_virtual_one_is_unknown() -> None:
    assert differ(declared_medium(kind="disk", identity="ssd-1", seen=VDB), VDA).different is None


@pytest.mark.parametrize("other", [SDA, VDA, REMOTE])
def test_a_declared_tape_is_another_medium_than_any_disk_or_store(other: Medium) -> None:
    assert differ(declared_medium(kind="tape", identity="LTO-7"), other).different is True


def test_a_declared_tape_beside_an_unseen_share_is_unknown() -> None:
    assert differ(declared_medium(kind="tape", identity="LTO-7"), NAS).different is None


def test_media_declared_at_different_sites_are_different_even_without_id() -> None:
    a, b = (declared_medium(kind="disk", site=site) for site in ("office", "cellar"))
    assert differ(a, b).different is True


def test_media_declared_at_one_site_without_id_are_not_different() -> None:
    a, b = (declared_medium(kind="disk", site="office", seen=seen) for seen in (VDA, VDB))
    assert differ(a, b).different is False


def test_an_empty_declaration_is_not_resolved() -> None:
    medium = declared_medium(kind="disk", seen=VDA)
    assert medium.unresolved == "its declaration names neither id nor site"
    assert differ(medium, SDA).different is None


# Trees


def leaf(name: str, **more: object) -> BlockNode:
    return BlockNode(**{"name": name, "kind": "disk", "identity": f"wwn:{name}", **more})  # type: ignore[arg-type]


def stack(*parts: BlockNode) -> BlockNode:
    return BlockNode(name="stack", kind="stack", parts=parts)


def test_the_disks_of_a_tree_are_all_its_leaves_each_once() -> None:
    tree = stack(stack(leaf("sda"), leaf("sdb")), leaf("sda"))
    assert physical_disks(tree) == ("wwn:sda", "wwn:sdb")


def test_a_tree_of_disks_is_a_disk_medium() -> None:
    medium = medium_of_tree(stack(leaf("sda"), leaf("sdb", virtual=True)), label="/srv")
    expected = Medium(kind="disk", ids=("wwn:sda", "wwn:sdb"), machine=True, virtual=True)
    assert medium == expected
    assert (medium.label, medium.devices) == ("/srv", ("sda", "sdb"))


def test_a_tree_with_a_hidden_leaf_keeps_the_disks_it_shows() -> None:
    hidden = leaf("x", kind="hidden", identity="", unresolved="x is hidden")
    medium = medium_of_tree(stack(leaf("sda"), hidden, hidden))
    assert (medium.kind, medium.ids, medium.unresolved) == ("disk", ("wwn:sda",), "x is hidden")


@pytest.mark.parametrize("kind", ["memory", "network"])
def test_one_leaf_of_memory_or_network_gives_the_whole_its_kind(kind: str) -> None:
    assert medium_of_tree(stack(leaf("sda"), leaf("x", kind=kind))).kind == kind


@pytest.mark.parametrize(
    "tree", [stack(), leaf("sda", identity=""), leaf("x", kind="network"), leaf("x", kind="hidden")]
)
def test_a_tree_without_an_end_is_not_resolved(tree: BlockNode) -> None:
    assert "cannot be seen" in medium_of_tree(tree).unresolved


# Sets of copies


def test_copies_on_different_media_all_count() -> None:
    result = largest_distinct({"disk": SDA, "second": SDB, "offsite": REMOTE})
    assert result.sure == result.possible == ("disk", "second", "offsite")
    assert result.fell_out == {}


def test_of_two_copies_on_one_disk_the_first_declared_counts() -> None:
    result = largest_distinct({"one": SDA, "two": SDA, "offsite": REMOTE})
    assert result.sure == result.possible == ("one", "offsite")
    assert result.fell_out["two"].reason == "one and two both lie on disk wwn:0xa"


def test_unknown_copies_are_possible_but_not_sure() -> None:
    result = largest_distinct({"one": VDA, "two": VDB, "offsite": REMOTE})
    assert (result.sure, result.possible) == (("one", "offsite"), ("one", "two", "offsite"))
    assert result.fell_out["two"].different is None


def test_a_copy_on_the_disk_of_the_live_data_does_not_count() -> None:
    result = largest_distinct({"disk": SDA, "offsite": REMOTE}, apart_from=[replace(SDA, label="/var/www")])
    assert result.sure == result.possible == ("offsite",)
    assert result.fell_out["disk"].reason == "disk and /var/www both lie on disk wwn:0xa"


def test_a_copy_in_memory_does_not_even_count_alone() -> None:
    result = largest_distinct({"ram": MEMORY})
    assert (result.sure, result.possible) == ((), ())
    assert result.fell_out["ram"].reason == "ram lies in memory, which is no lasting medium"


def test_the_larger_set_is_found_where_taking_the_first_copy_would_block_it() -> None:
    both = disk("wwn:0xa", "wwn:0xb")
    result = largest_distinct({"mirror": both, "one": SDA, "two": SDB})
    assert result.sure == ("one", "two")


def test_no_copies_make_no_set() -> None:
    assert largest_distinct({}).sure == ()


# Properties

IDS = st.lists(st.sampled_from(["wwn:1", "wwn:2", "serial:3", "bucket:h/x", "bucket:h/y", "own"]), max_size=3)
NAMES = st.sampled_from([None, "one", "two"])
MEDIA = st.builds(
    Medium,
    kind=st.sampled_from(["disk", "object-store", "tape", "optical", "memory", "network", "unknown"]),
    ids=IDS.map(tuple),
    machine=st.booleans(),
    virtual=st.booleans(),
    declared=st.booleans(),
    provider=NAMES,
    site=NAMES,
    unresolved=st.sampled_from(["", "", "cannot be seen"]),
    label=st.sampled_from(["", "x", "y"]),
    devices=st.sampled_from([(), ("sda",)]),
)


@given(MEDIA, MEDIA)
def test_differing_is_symmetric(a: Medium, b: Medium) -> None:
    assert differ(a, b).different is differ(b, a).different


@given(MEDIA)
def test_no_medium_differs_from_itself(medium: Medium) -> None:
    assert differ(medium, replace(medium, label="elsewhere")).different is not True


@given(MEDIA, MEDIA)
def test_what_is_unresolved_or_shared_or_perishable_never_passes(a: Medium, b: Medium) -> None:
    if a.unresolved or b.unresolved or set(a.ids) & set(b.ids) or "memory" in (a.kind, b.kind):
        assert differ(a, b).different is not True


@given(MEDIA, MEDIA)
def test_a_pass_that_leans_on_a_declaration_says_so(a: Medium, b: Medium) -> None:
    result = differ(a, b)
    if result.different:
        assert result.declared is (a.declared or b.declared)
        assert result.declared is ("as declared" in result.reason)


@given(st.lists(MEDIA, max_size=5), st.lists(MEDIA, max_size=2))
def test_the_sure_set_is_proven_and_no_other_set_is_larger(media: list[Medium], live: list[Medium]) -> None:
    copies = {f"copy{number}": medium for number, medium in enumerate(media)}
    result = largest_distinct(copies, live)
    assert all(differ(copies[a], copies[b]).different for a, b in combinations(result.sure, 2))
    assert all(differ(copies[name], other).different for name in result.sure for other in live)
    assert len(result.sure) <= len(result.possible)
    assert set(result.fell_out) == set(copies) - set(result.sure)
    assert all(verdict.different is not True for verdict in result.fell_out.values())
