from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drtool.core.model import Snapshot
from drtool.core.objects import key_of_snapshot
from drtool.core.selection import Pace, choose_snapshot, holders, order_sources, rank_copies
from drtool.errors import NoSnapshot

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def snapshot(name: str, time: datetime, dataset: str = "shop") -> Snapshot:
    return Snapshot(
        id=name.ljust(64, "0"), dataset=dataset, time=time, tree="t", run="r", paths=(), tags=(), files=1, bytes=1
    )


OLD, MIDDLE, NEW = snapshot("aa1", NOON - 2 * DAY), snapshot("aa2", NOON - DAY), snapshot("bb3", NOON)
FOREIGN = snapshot("cc4", NOON + DAY, dataset="mail")
ALL = (NEW, OLD, FOREIGN, MIDDLE)


# Which snapshot


def test_the_newest_snapshot_of_the_dataset_is_chosen() -> None:
    assert choose_snapshot(ALL, "shop") == NEW


@pytest.mark.parametrize(
    ("at", "chosen"), [(NOON - timedelta(seconds=1), MIDDLE), (NOON - DAY, MIDDLE), (NOON + DAY, NEW)]
)
def test_the_newest_not_after_a_moment_is_chosen(at: datetime, chosen: Snapshot) -> None:
    assert choose_snapshot(ALL, "shop", at=at) == chosen


def test_before_the_oldest_there_is_none_and_the_oldest_is_named() -> None:
    with pytest.raises(NoSnapshot, match="the oldest is of 2026-11-21 12:00 UTC"):
        choose_snapshot(ALL, "shop", at=NOON - 3 * DAY)


@pytest.mark.parametrize("named", ["aa1", "AA1", OLD.id])
def test_a_snapshot_is_found_by_its_id_or_the_beginning_of_it(named: str) -> None:
    assert choose_snapshot(ALL, "shop", named=named) == OLD


def test_a_beginning_that_fits_several_is_refused() -> None:
    with pytest.raises(NoSnapshot, match="more than one snapshot of shop begins with aa"):
        choose_snapshot(ALL, "shop", named="aa")


def test_a_snapshot_of_another_dataset_is_not_found() -> None:
    with pytest.raises(NoSnapshot, match="no snapshot of shop begins with cc4"):
        choose_snapshot(ALL, "shop", named="cc4")


def test_a_dataset_without_snapshots_is_named() -> None:
    with pytest.raises(NoSnapshot, match="dataset mail has no snapshot") as raised:
        choose_snapshot((OLD, NEW), "mail")
    assert raised.value.code == 23


# From which copy


def test_copies_that_hold_the_snapshot_keep_their_order() -> None:
    held = {key_of_snapshot(NEW.id): 5}
    assert holders(NEW, {"usb": held, "disk": {}, "offsite": held}) == ("usb", "offsite")


NAMES = ("offsite", "disk", "usb")
LOCAL = {"offsite": False, "disk": True, "usb": True}
COMPLETE = dict.fromkeys(NAMES, True)


def test_near_copies_come_before_far_ones() -> None:
    assert rank_copies(NAMES, local=LOCAL, damaged=(), complete=COMPLETE) == ("disk", "usb", "offsite")


def test_a_far_copy_that_is_complete_comes_before_a_near_one_that_is_behind() -> None:
    complete = COMPLETE | {"disk": False, "usb": False}
    assert rank_copies(NAMES, local=LOCAL, damaged=(), complete=complete) == ("offsite", "disk", "usb")


def test_a_damaged_copy_comes_last_and_still_comes() -> None:
    complete = COMPLETE | {"offsite": False}
    assert rank_copies(NAMES, local=LOCAL, damaged=["disk"], complete=complete) == ("usb", "offsite", "disk")


def test_equals_stay_in_declared_order() -> None:
    local = dict.fromkeys(NAMES, True)
    assert rank_copies(NAMES, local=local, damaged=(), complete=COMPLETE) == NAMES


def test_equally_fast_copies_share_the_load() -> None:
    paces = {"a": Pace(rate=100, queued=500), "b": Pace(rate=100)}
    assert order_sources(["a", "b"], paces, 10) == ("b", "a")
    assert order_sources(["a", "b"], {"a": Pace(rate=100), "b": Pace(rate=100)}, 10) == ("a", "b")


def test_a_much_slower_copy_is_only_asked_last_however_long_the_queue() -> None:
    paces = {"slow": Pace(rate=40), "fast": Pace(rate=100, queued=10**9)}
    assert order_sources(["slow", "fast"], paces, 10) == ("fast", "slow")
    assert order_sources(["slow"], paces, 10) == ("slow",)
