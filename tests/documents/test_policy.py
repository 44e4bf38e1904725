from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from drtool.documents.loader import check_document, load_policy
from drtool.documents.policy import CopiesRule, EncryptionRule, ImmutabilityRule
from drtool.errors import DocumentInvalid

POLICY = """\
version: 1
policy: house
title: What we promise
rules:
  - rule: thrice
    type: copies
    clause: our own
    min: 3
    distinct: [medium, site]
    fresh: 36h
  - {rule: sealed, type: encryption, clause: our own}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "house.yaml"
    path.write_text(POLICY, encoding="utf-8")
    return path


def test_a_policy_is_read_into_typed_rules(file: Path) -> None:
    copies, encryption = load_policy(file).rules
    assert isinstance(copies, CopiesRule)
    assert (copies.min, copies.distinct, copies.fresh) == (3, ("medium", "site"), timedelta(hours=36))
    assert isinstance(encryption, EncryptionRule)


def test_a_rule_for_copies_asks_for_two_media_unless_told_otherwise(file: Path) -> None:
    text = POLICY.replace("    min: 3\n    distinct: [medium, site]\n    fresh: 36h\n", "")
    file.write_text(text, encoding="utf-8")
    copies = load_policy(file).rules[0]
    assert isinstance(copies, CopiesRule)
    assert (copies.min, copies.distinct, copies.fresh) == (2, ("medium",), None)


def test_the_shipped_policy_asks_for_two_encrypted_copies_within_the_rpo(shipped: Path) -> None:
    policy = load_policy(shipped)
    copies = policy.rules[0]
    assert isinstance(copies, CopiesRule)
    assert (policy.policy, copies.min, copies.distinct, copies.fresh) == ("two-copies", 2, ("medium",), "rpo")
    assert [rule.clause for rule in policy.rules] == [
        "TOM-7, Art. 32(1) b and c GDPR",
        "TOM-2, Art. 32(1) a GDPR",
    ]


def test_a_rule_for_immutability_is_satisfied_by_either_mode_unless_told_otherwise(file: Path) -> None:
    file.write_text(POLICY + "  - {rule: locked, type: immutability, clause: our own, days: 14}\n", encoding="utf-8")
    rule = load_policy(file).rules[2]
    assert isinstance(rule, ImmutabilityRule)
    assert (rule.days, rule.mode, rule.min) == (14, "governance", 1)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(
            "type: copies",
            "type: copy",
            "6:11: rules[0].type: unknown type 'copy' (did you mean 'copies'?); known: copies, encryption,"
            " immutability",
            id="an unknown type",
        ),
        pytest.param("    type: copies\n", "", "5:5: rules[0].type: missing key 'type'", id="no type"),
        pytest.param("min: 3", "min: 0", "8:10: rules[0].min: must be at least 1", id="no copy at all"),
        pytest.param("min: 3", "min: three", "8:10: rules[0].min: must be a whole number", id="a number in words"),
        pytest.param(
            "medium, site",
            "medium, colour",
            "9:24: rules[0].distinct[1]: must be medium, provider or site",
            id="an unknown difference",
        ),
        pytest.param(
            "[medium, site]",
            "colour",
            "9:15: rules[0].distinct[0]: must be medium, provider or site",
            id="an unknown single difference",
        ),
        pytest.param(
            "medium, site",
            "site, site",
            "9:15: rules[0].distinct: holds the same entry twice",
            id="a difference written twice",
        ),
        pytest.param(
            "fresh: 36h",
            "fresh: rto",
            "10:12: rules[0].fresh: must be a number and a unit, such as 90s, 15m, 24h, 90d, 8w or 1d12h",
            id="an unknown freshness",
        ),
        pytest.param(
            "    clause: our own\n", "", "5:5: rules[0]: missing key 'clause'", id="a rule that serves no clause"
        ),
        pytest.param(
            "sealed",
            "thrice",
            "11:12: rules[1].rule: another rule of this policy has the name 'thrice' already",
            id="two rules of one name",
        ),
        pytest.param(
            "fresh: 36h",
            "frehs: 36h",
            "10:5: rules[0].frehs: unknown key 'frehs' (did you mean 'fresh'?)",
            id="an unknown key",
        ),
        pytest.param(POLICY[POLICY.index("  - rule") :], "  []\n", "5:3: rules: must not be empty", id="no rules"),
    ],
)
def test_a_policy_is_refused_for(file: Path, old: str, new: str, problem: str) -> None:
    assert POLICY.count(old) == 1
    file.write_text(POLICY.replace(old, new), encoding="utf-8")
    with pytest.raises(DocumentInvalid) as refused:
        load_policy(file)
    assert refused.value.problems == (f"{file}:{problem}",)


def test_a_policy_is_known_by_its_content(file: Path) -> None:
    assert check_document(file) == ()


def test_a_document_of_no_known_kind_is_refused(file: Path) -> None:
    file.write_text("version: 1\n", encoding="utf-8")
    assert check_document(file) == (
        f"{file}:1:1: document: not a kind of document drtool knows: it has none of the keys"
        " site, policy, runbook, restart_concept, register",
    )
