from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtool.core.media import Medium, bucket_medium, counts_alone, declared_medium, differ
from drtool.core.model import (
    CopyState,
    CopyStatus,
    DatasetStatus,
    Facts,
    Finding,
    Holding,
    Protection,
    Snapshot,
    Verdict,
)
from drtool.core.rules import JUDGES, in_words, judge
from drtool.documents.policy import Policy

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Asked:
    type: str = "copies"
    rule: str = "at-least-twice"
    clause: str = "TOM-7"
    min: int = 2
    distinct: Sequence[str] = ("medium",)
    fresh: timedelta | Literal["rpo"] | None = "rpo"


@dataclass(frozen=True, kw_only=True)
class Document:
    policy: str = "two-copies"
    rules: tuple[Asked, ...] = (Asked(),)


def disk(name: str, **more: object) -> Medium:
    return Medium(**{"kind": "disk", "ids": (f"wwn:{name}",), "machine": True, "label": name, **more})  # type: ignore[arg-type]


LIVE = disk("live", label="/var/www")
OWN = disk("own")
REMOTE = bucket_medium(host="s3.example.net", bucket="b", provider="example-cloud")
LOOPBACK = bucket_medium(host="127.0.0.1:9000", bucket="b", machine=True)
NAS = Medium(kind="network", ids=("network:nas:/x",), unresolved="the disks behind nas:/x cannot be seen")
ELSEWHERE = declared_medium(kind="disk", identity="host-ssd-2", site="cellar", seen=NAS)


def copy(name: str, medium: Medium, state: CopyState = CopyState.HEALTHY, **more: object) -> CopyStatus:
    location = f"s3:https://{name}/b" if medium.kind == "object-store" else f"/srv/{name}"
    given = {"objects": 9, "bytes": 99, "agrees": True, "location": location, **more}
    return CopyStatus(repository="main", copy=name, state=state, medium=medium, **given)  # type: ignore[arg-type]


def snapshot(age: timedelta) -> Snapshot:
    return Snapshot(id="a" * 64, dataset="shop", time=NOW - age, tree="t", run="r", paths=(), tags=(), files=1, bytes=1)


def holding(name: str, age: timedelta | None = HOUR) -> Holding:
    if age is None:
        return Holding(copy=name, newest=None, age=None, fresh=False)
    return Holding(copy=name, newest=snapshot(age), age=age, fresh=age <= 24 * HOUR)


def facts(
    *copies: CopyStatus, live: tuple[Medium, ...] = (LIVE,), ages: dict[str, timedelta | None] | None = None
) -> Facts:
    held = {one.copy: HOUR for one in copies} | (ages or {})
    shop = DatasetStatus(
        dataset="shop",
        repository="main",
        rpo=24 * HOUR,
        rto=HOUR,
        holdings=tuple(holding(name, age) for name, age in held.items()),
        media=live,
    )
    return Facts(site="office", copies=copies, datasets=(shop,))


def judged(known: Facts, **asked: object) -> Finding:
    rule = Asked(**asked)  # type: ignore[arg-type]
    (finding,) = judge(Document(rules=(rule,)), known, NOW)
    return finding


TWO = (copy("disk", OWN), copy("offsite", REMOTE))


def with_second(**changes: object) -> Facts:
    return facts(TWO[0], replace(TWO[1], **changes))  # type: ignore[arg-type]


# Copies: that they count


def test_two_fresh_copies_on_different_media_pass() -> None:
    assert judged(facts(*TWO)) == Finding(
        policy="two-copies",
        rule="at-least-twice",
        clause="TOM-7",
        subject="shop",
        verdict=Verdict.PASS,
        reason="2 of 2 copies count: disk and offsite",
    )


def test_one_copy_is_not_two() -> None:
    finding = judged(facts(TWO[1]))
    assert finding.verdict is Verdict.FAIL
    assert finding.reason == "1 of 1 copy counts, 2 are needed: there are no more"
    assert finding.hint == "add a copy to repository main in drtool.yaml, then `drtool copies init`"


def test_a_copy_too_many_that_falls_out_does_no_harm_but_is_named() -> None:
    finding = judged(facts(*TWO, copy("usb", disk("usb"), CopyState.ABSENT)))
    assert finding.verdict is Verdict.PASS
    assert finding.reason == "2 of 3 copies count: disk and offsite; left out: usb is absent"
    assert finding.hint == ""


@pytest.mark.parametrize(
    ("state", "verdict", "words", "hint"),
    [
        (CopyState.ABSENT, Verdict.FAIL, "offsite is absent", "drtool copies init"),
        (CopyState.DAMAGED, Verdict.FAIL, "offsite is damaged", "drtool backup"),
        (CopyState.UNKNOWN, Verdict.UNKNOWN, "offsite could not be looked at", "drtool copies list"),
        (CopyState.BEHIND, Verdict.PASS, "disk and offsite", ""),
        (CopyState.HEALTHY, Verdict.PASS, "disk and offsite", ""),
    ],
)
def test_the_state_of_a_copy_decides_whether_it_counts(
    state: CopyState, verdict: Verdict, words: str, hint: str
) -> None:
    finding = judged(with_second(state=state))
    assert finding.verdict is verdict
    assert words in finding.reason
    assert hint in finding.hint


def test_every_state_is_judged() -> None:
    assert all(judged(with_second(state=state)).reason for state in CopyState)


def test_what_a_copy_says_of_itself_is_handed_on() -> None:
    finding = judged(with_second(state=CopyState.ABSENT, reason="/srv/x has no marker", hint="mount /srv/x"))
    assert finding.reason == "1 of 2 copies counts, 2 are needed: offsite is absent: /srv/x has no marker"
    assert finding.hint == "mount /srv/x"


def test_a_copy_out_of_reach_cannot_help_where_even_it_would_not_be_enough() -> None:
    assert judged(with_second(state=CopyState.UNKNOWN), min=3).verdict is Verdict.FAIL


def test_a_copy_out_of_reach_says_how_many_might_count() -> None:
    finding = judged(with_second(state=CopyState.UNKNOWN, reason="timed out"))
    assert finding.reason == (
        "1 of 2 copies counts for certain, 2 might, 2 are needed: offsite could not be looked at: timed out"
    )


def test_a_copy_out_of_reach_on_the_live_disk_would_not_count_either() -> None:
    assert judged(facts(TWO[1], copy("disk", LIVE, CopyState.UNKNOWN))).verdict is Verdict.FAIL


# Copies: that they are fresh


def aged(age: timedelta | None, state: CopyState = CopyState.HEALTHY) -> Facts:
    return facts(TWO[0], replace(TWO[1], state=state), ages={"offsite": age})


def test_a_snapshot_older_than_the_rpo_does_not_count() -> None:
    finding = judged(aged(30 * HOUR))
    assert finding.verdict is Verdict.FAIL
    assert "the newest snapshot in offsite is 30 h old, which is more than 24 h" in finding.reason
    assert finding.hint == "`drtool backup`"


def test_a_snapshot_exactly_as_old_as_the_rpo_counts() -> None:
    assert judged(aged(24 * HOUR)).verdict is Verdict.PASS
    assert judged(aged(24 * HOUR + timedelta(seconds=1))).verdict is Verdict.FAIL


def test_a_rule_may_ask_for_its_own_freshness() -> None:
    assert judged(aged(2 * HOUR), fresh=3 * HOUR).verdict is Verdict.PASS
    assert judged(aged(2 * HOUR), fresh=HOUR).verdict is Verdict.FAIL


def test_without_freshness_an_old_snapshot_counts_but_none_does_not() -> None:
    assert judged(aged(9000 * HOUR), fresh=None).verdict is Verdict.PASS
    finding = judged(aged(None), fresh=None)
    assert finding.verdict is Verdict.FAIL
    assert "offsite holds no snapshot of it" in finding.reason


def test_a_copy_that_is_behind_counts_only_with_a_fresh_snapshot_even_if_no_freshness_is_asked() -> None:
    assert judged(aged(HOUR, CopyState.BEHIND), fresh=None).verdict is Verdict.PASS
    assert judged(aged(30 * HOUR, CopyState.BEHIND), fresh=None).verdict is Verdict.FAIL
    assert judged(aged(None, CopyState.BEHIND), fresh=None).verdict is Verdict.FAIL


def test_a_snapshot_from_the_future_proves_no_freshness() -> None:
    finding = judged(aged(-2 * HOUR))
    assert finding.verdict is Verdict.UNKNOWN
    assert "dated 2 h ahead of the clock" in finding.reason
    assert "timedatectl" in finding.hint
    assert judged(aged(-timedelta(minutes=2))).verdict is Verdict.PASS


def test_a_copy_whose_holdings_were_not_looked_at_is_unknown() -> None:
    known = facts(*TWO)
    (shop,) = known.datasets
    finding = judged(replace(known, datasets=(replace(shop, holdings=shop.holdings[:1]),)))
    assert finding.verdict is Verdict.UNKNOWN
    assert "what offsite holds is not known" in finding.reason


# Copies: that they differ


def test_a_copy_on_the_disk_of_the_live_data_does_not_count_beside_it() -> None:
    finding = judged(facts(copy("disk", LIVE), TWO[1]))
    assert finding.verdict is Verdict.FAIL
    assert finding.reason == ("1 of 2 copies counts, 2 are needed: disk and /var/www both lie on disk wwn:live")
    assert finding.hint == "add a copy on another medium"


def test_everything_on_one_machine_fails_with_each_reason() -> None:
    finding = judged(facts(copy("disk", LIVE), copy("offsite", LOOPBACK)))
    assert finding.verdict is Verdict.FAIL
    assert finding.reason == (
        "none of 2 copies counts, 2 are needed: disk and /var/www both lie on disk wwn:live; "
        "offsite is served by this machine, where /var/www lies too"
    )


def test_two_copies_on_one_disk_count_once() -> None:
    finding = judged(facts(copy("one", OWN), copy("two", OWN)))
    assert finding.verdict is Verdict.FAIL
    assert "one and two both lie on disk wwn:own" in finding.reason


def test_a_medium_that_cannot_be_seen_is_unknown_and_asks_to_be_declared() -> None:
    finding = judged(facts(copy("disk", NAS), TWO[1]))
    assert finding.verdict is Verdict.UNKNOWN
    assert "cannot be seen" in finding.reason
    assert finding.hint == "declare where it lies with `medium:` in drtool.yaml"


def test_a_declared_medium_is_believed_and_the_reason_says_so() -> None:
    finding = judged(facts(copy("disk", ELSEWHERE), TWO[1]))
    assert finding.verdict is Verdict.PASS
    assert finding.reason == "2 of 2 copies count: disk and offsite (resting on what is declared of disk)"


def test_a_declaration_of_the_live_data_is_named_too() -> None:
    live = declared_medium(kind="disk", identity="ssd-1", seen=replace(LIVE, virtual=True))
    known = facts(copy("disk", ELSEWHERE), TWO[1], live=(live,))
    assert judged(known).reason.endswith("(resting on what is declared of disk and /var/www)")


def test_a_verdict_that_needs_no_declaration_names_none() -> None:
    assert "declared" not in judged(facts(copy("disk", ELSEWHERE), TWO[1]), distinct=("provider",)).reason


def test_live_data_of_no_known_place_is_told() -> None:
    finding = judged(facts(*TWO, live=()))
    assert finding.verdict is Verdict.PASS
    assert finding.reason.endswith("(on what medium the live data lies is not known)")


def test_live_data_that_cannot_be_followed_to_its_disks_is_unknown() -> None:
    assert judged(facts(*TWO, live=(NAS,))).verdict is Verdict.UNKNOWN


def test_memory_never_counts_whatever_must_differ() -> None:
    ram = copy("ram", Medium(kind="memory", machine=True, provider="elsewhere"))
    assert judged(facts(ram, TWO[1]), distinct=("provider",)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("second", "verdict", "words"),
    [
        (copy("offsite", REMOTE), Verdict.PASS, "disk and offsite"),
        (copy("offsite", replace(REMOTE, provider=None)), Verdict.UNKNOWN, "who runs offsite is not known"),
        (copy("usb", disk("usb")), Verdict.FAIL, "disk and usb are both our own"),
        (copy("box", disk("usb", provider="host")), Verdict.PASS, "disk and box"),
    ],
)
def test_copies_may_have_to_be_at_different_providers(second: CopyStatus, verdict: Verdict, words: str) -> None:
    finding = judged(facts(TWO[0], second), distinct=("provider",))
    assert (finding.verdict, words in finding.reason) == (verdict, True)


def test_one_provider_written_in_two_ways_is_one() -> None:
    second = bucket_medium(host="other.example.net", bucket="c", provider="Example-Cloud ")
    assert judged(facts(TWO[1], copy("second", second)), distinct=("provider",)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("second", "verdict", "words"),
    [
        (replace(REMOTE, site="fsn"), Verdict.PASS, "disk and second"),
        (REMOTE, Verdict.UNKNOWN, "at which site second lies is not known"),
        (disk("usb"), Verdict.FAIL, "disk and second are both at site office"),
        (disk("usb", site="cellar"), Verdict.PASS, "disk and second"),
        (LOOPBACK, Verdict.FAIL, "both at site office"),
    ],
)
def test_copies_may_have_to_be_at_different_sites(second: Medium, verdict: Verdict, words: str) -> None:
    finding = judged(facts(TWO[0], copy("second", second)), distinct=("site",))
    assert (finding.verdict, words in finding.reason) == (verdict, True)


def test_a_declared_site_is_named_as_declared() -> None:
    second = copy("second", declared_medium(kind="disk", identity="x", site="cellar"))
    assert "declared of second" in judged(facts(TWO[0], second), distinct=("site",)).reason


def test_several_words_must_hold_for_one_pair() -> None:
    same_site = copy("offsite", replace(REMOTE, site="office"))
    same_provider = copy("usb", disk("usb", site="cellar"))
    words = ("provider", "site")
    assert judged(facts(TWO[0], same_site, same_provider), distinct=("provider",)).verdict is Verdict.PASS
    assert judged(facts(TWO[0], same_site), distinct=words).verdict is Verdict.FAIL
    assert judged(facts(TWO[0], same_provider), distinct=words).verdict is Verdict.FAIL
    assert judged(facts(TWO[0], copy("far", replace(REMOTE, site="fsn"))), distinct=words).verdict is Verdict.PASS


def test_a_word_that_is_not_known_never_passes() -> None:
    assert judged(facts(*TWO), distinct=("continent",)).verdict is Verdict.UNKNOWN


# Nothing known


def test_a_dataset_of_whose_copies_nothing_is_known_is_unknown() -> None:
    known = facts(*TWO)
    finding = judged(replace(known, copies=(replace(TWO[0], repository="other"),)))
    assert (finding.subject, finding.verdict) == ("shop", Verdict.UNKNOWN)
    assert finding.reason == "nothing is known of the copies of repository main"


@pytest.mark.parametrize("kind", ["copies", "encryption", "weather"])
def test_a_rule_without_anything_to_judge_is_unknown(kind: str) -> None:
    finding = judged(Facts(site="office"), type=kind)
    assert (finding.subject, finding.verdict) == ("office", Verdict.UNKNOWN)


def test_a_rule_of_an_unknown_type_is_unknown_whatever_the_facts() -> None:
    assert judged(facts(*TWO), type="weather").verdict is Verdict.UNKNOWN


# Encryption


def protected(transport: str, opaque: bool | None) -> Finding:
    one = Protection(repository="main", copy="disk", transport=transport, opaque=opaque)
    return judged(Facts(site="office", protection=(one,)), type="encryption")


@pytest.mark.parametrize(
    ("transport", "opaque", "verdict", "words"),
    [
        ("local", True, Verdict.PASS, "encrypted by restic"),
        ("https", True, Verdict.PASS, "TLS"),
        ("loopback", True, Verdict.PASS, "does not leave the machine"),
        ("local", None, Verdict.UNKNOWN, "could not be seen"),
        ("local", False, Verdict.FAIL, "without a password"),
        ("https", False, Verdict.FAIL, "without a password"),
        ("http", True, Verdict.FAIL, "without TLS"),
        ("http", None, Verdict.FAIL, "without TLS"),
        ("pigeon", True, Verdict.UNKNOWN, "pigeon"),
    ],
)
def test_a_copy_is_encrypted_where_it_lies_and_on_its_way(
    transport: str, opaque: bool | None, verdict: Verdict, words: str
) -> None:
    finding = protected(transport, opaque)
    assert (finding.subject, finding.verdict) == ("main/disk", verdict)
    assert words in finding.reason
    assert (finding.hint == "") is (verdict is Verdict.PASS)


def test_a_copy_of_whose_protection_nothing_is_known_is_unknown() -> None:
    one = Protection(repository="main", copy="disk", transport="local", opaque=True)
    known = replace(facts(*TWO), protection=(one,))
    found = judge(Document(rules=(Asked(type="encryption"),)), known, NOW)
    assert [(finding.subject, finding.verdict) for finding in found] == [
        ("main/disk", Verdict.PASS),
        ("main/offsite", Verdict.UNKNOWN),
    ]


def test_a_repository_without_copies_is_not_encrypted() -> None:
    finding = judged(facts(), type="encryption")
    assert (finding.subject, finding.verdict) == ("main", Verdict.UNKNOWN)


# The documents


def test_the_documents_rules_are_judged_as_they_are() -> None:
    policy = Policy.model_validate(
        {
            "version": 1,
            "policy": "p",
            "title": "t",
            "rules": (
                {"rule": "twice", "type": "copies", "clause": "c", "distinct": "medium", "fresh": "rpo"},
                {"rule": "secret", "type": "encryption", "clause": "d"},
            ),
        }
    )
    found = judge(policy, facts(*TWO), NOW)
    assert [(one.policy, one.rule, one.clause, one.verdict) for one in found] == [
        ("p", "twice", "c", Verdict.PASS),
        ("p", "secret", "d", Verdict.UNKNOWN),
        ("p", "secret", "d", Verdict.UNKNOWN),
    ]
    assert {rule.type for rule in policy.rules} <= JUDGES.keys()


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(), "0 s"),
        (timedelta(seconds=45), "45 s"),
        (timedelta(minutes=12, seconds=3), "12 min"),
        (timedelta(hours=3, minutes=12), "3 h 12 min"),
        (timedelta(hours=24), "24 h"),
        (timedelta(hours=52), "2 d 4 h"),
        (timedelta(days=90), "90 d"),
        (timedelta(hours=-3), "3 h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(duration: timedelta, words: str) -> None:
    assert in_words(duration) == words


# Properties

MEDIA = st.sampled_from(
    [
        LIVE,
        OWN,
        disk("third"),
        disk("vda", virtual=True),
        REMOTE,
        replace(REMOTE, provider=None),
        replace(REMOTE, site="fsn"),
        bucket_medium(host="two.net", bucket="c", provider="two"),
        LOOPBACK,
        NAS,
        ELSEWHERE,
        Medium(kind="memory", machine=True),
        Medium(kind="unknown"),
    ]
)
AGES = st.sampled_from([None, -3 * HOUR, HOUR, 24 * HOUR, 25 * HOUR])
Drawn = Sequence[tuple[Medium, CopyState, timedelta | None]]
COPIES = st.lists(st.tuples(MEDIA, st.sampled_from(CopyState), AGES), max_size=4)
WORDS = st.lists(st.sampled_from(["medium", "provider", "site"]), min_size=1, unique=True)
FRESH = st.sampled_from([None, "rpo", 24 * HOUR])


def estate(drawn: Drawn, live: list[Medium]) -> Facts:
    copies = [copy(f"c{number}", medium, state) for number, (medium, state, _) in enumerate(drawn)]
    return facts(*copies, live=tuple(live), ages={f"c{number}": age for number, (_, _, age) in enumerate(drawn)})


def counting(known: Facts, words: list[str], fresh: object) -> int:
    """The count by brute force and by the words of the specification, apart from the code under test."""
    (shop,) = known.datasets
    held = {one.copy: one for one in shop.holdings}

    def counts(one: CopyStatus) -> bool:
        newest = held[one.copy].newest
        if newest is None or one.state not in (CopyState.HEALTHY, CopyState.BEHIND):
            return False
        age = NOW - newest.time
        limited = fresh is not None or one.state is CopyState.BEHIND
        live = shop.media if "medium" in words else ()
        return not (limited and not timedelta() <= age <= 24 * HOUR) and bool(counts_alone(one.medium, live).different)

    def apart(a: CopyStatus, b: CopyStatus) -> bool:
        def provider(one: CopyStatus) -> str | None:
            return one.medium.provider or (None if one.medium.kind == "object-store" else "own")

        def site(one: CopyStatus) -> str | None:
            return one.medium.site or (known.site if one.medium.machine else None)

        proven = {
            "medium": bool(differ(a.medium, b.medium).different),
            "provider": None not in (provider(a), provider(b)) and provider(a) != provider(b),
            "site": None not in (site(a), site(b)) and site(a) != site(b),
        }
        return all(proven[word] for word in words)

    fit = [one for one in known.copies if counts(one)]
    sets = (some for size in range(len(fit) + 1) for some in combinations(fit, size))
    return max(len(some) for some in sets if all(apart(a, b) for a, b in combinations(some, 2)))


@given(COPIES, st.lists(MEDIA, max_size=2), WORDS, FRESH, st.integers(1, 4))
def test_a_pass_is_exactly_what_is_proven(
    drawn: Drawn,
    live: list[Medium],
    words: list[str],
    fresh: object,
    needed: int,
) -> None:
    known = estate(drawn, live)
    finding = judged(known, min=needed, distinct=tuple(words), fresh=fresh)
    assert (finding.verdict is Verdict.PASS) is (bool(drawn) and counting(known, words, fresh) >= needed)
    assert finding.reason
    assert (finding.hint == "") is (finding.verdict is Verdict.PASS)


@given(COPIES, st.lists(MEDIA, max_size=2), WORDS, FRESH, st.integers(1, 4))
def test_reaching_a_copy_never_makes_a_fail_of_certainty_into_a_pass(
    drawn: Drawn,
    live: list[Medium],
    words: list[str],
    fresh: object,
    needed: int,
) -> None:
    """A fail is final: had the copies out of reach been healthy, it would still not be enough."""
    finding = judged(estate(drawn, live), min=needed, distinct=tuple(words), fresh=fresh)
    if finding.verdict is Verdict.FAIL:
        reached = [
            (medium, CopyState.HEALTHY if state is CopyState.UNKNOWN else state, age) for medium, state, age in drawn
        ]
        known = estate(reached, live)
        assert judged(known, min=needed, distinct=tuple(words), fresh=fresh).verdict is not Verdict.PASS


@given(COPIES, WORDS, FRESH, st.integers(1, 3))
def test_losing_a_copy_never_helps(drawn: Drawn, words: list[str], fresh: object, needed: int) -> None:
    whole = judged(estate(drawn, [LIVE]), min=needed, distinct=tuple(words), fresh=fresh)
    fewer = judged(estate(drawn[:-1], [LIVE]), min=needed, distinct=tuple(words), fresh=fresh)
    if fewer.verdict is Verdict.PASS:
        assert whole.verdict is Verdict.PASS
