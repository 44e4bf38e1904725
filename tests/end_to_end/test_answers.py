"""What programs rely on: the JSON documents of SPEC section 10, the exit codes of section 4, silence."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.shop import Shop, change


def _has(document: dict[str, Any], *names: str) -> None:
    missing = set(names) - document.keys()
    assert not missing, f"{missing} not in {sorted(document)}"


def _is_time(text: str) -> None:
    assert datetime.fromisoformat(text).utcoffset() is not None
    assert text.endswith("Z") or text.endswith("+00:00"), text


def test_backup_answers_as_promised(grown: Shop) -> None:
    change(grown.source, 7)
    document = grown.run("backup", code=0).document
    _has(document, "run", "outcome", "seconds", "datasets", "copies")
    assert document["outcome"] == "done"
    (dataset,) = document["datasets"]
    _has(dataset, "dataset", "outcome", "snapshot", "tree", "files", "bytes", "added_bytes", "seconds")
    assert len(dataset["snapshot"]) == len(dataset["tree"]) == 64
    listed = grown.snapshots("disk")[-1]
    assert (listed["id"], listed["tree"]) == (dataset["snapshot"], dataset["tree"])
    assert f"run:{document['run']}" in listed["tags"]
    files = [path for path in grown.source.rglob("*") if path.is_file()]
    assert (dataset["files"], dataset["bytes"]) == (len(files), sum(path.stat().st_size for path in files))
    assert 6_000_000 < dataset["added_bytes"] < 20_000_000
    for copy in document["copies"]:
        _has(copy, "repository", "copy", "outcome", "wrote", "sent", "healed", "agrees")
        _has(copy["sent"], "objects", "bytes")
    disk, offsite = document["copies"]
    assert (disk["wrote"], offsite["wrote"]) == (True, False)
    assert offsite["sent"]["objects"] >= 3
    assert offsite["sent"]["bytes"] > 6_000_000


def test_status_answers_as_promised(grown: Shop) -> None:
    document = grown.run("status").document
    _has(document, "site", "at", "compliant", "datasets", "findings")
    assert document["site"] == "shop"
    _is_time(document["at"])
    (dataset,) = document["datasets"]
    _has(dataset, "dataset", "rpo", "rto", "copies")
    assert (dataset["rpo"], dataset["rto"]) == (86400, 3600)
    for copy in dataset["copies"]:
        _has(copy, "copy", "newest", "fresh", "verified", "medium")
        _has(copy["newest"], "snapshot", "time", "age")
        _is_time(copy["newest"]["time"])
        assert copy["fresh"] is True
        assert copy["verified"]["level"] == "L0"
        _is_time(copy["verified"]["at"])


def test_status_judges_the_policies_and_ends_with_21_where_one_is_violated(grown: Shop) -> None:
    """Both copies are on this machine's disk, and drtool says so."""
    policy = Path(__file__).parents[2] / "policies" / "two-copies.yaml"
    grown.more["policies"] = [str(policy)]
    answer = grown.write().run("status", code=21)
    assert answer.document["compliant"] is False
    for finding in answer.document["findings"]:
        _has(finding, "policy", "rule", "clause", "subject", "verdict", "reason", "hint")
        assert finding["verdict"] in ("pass", "warn", "fail", "unknown")
    assert any(finding["verdict"] == "fail" for finding in answer.document["findings"])
    page = grown.folder / "status.html"
    grown.run("status", "--html", str(page), code=21)
    assert "<html" in page.read_text()


def test_a_dataset_without_a_snapshot_has_null_as_its_newest(grown: Shop) -> None:
    grown.add_files("later", grown.source)
    document = grown.write().run("status").document
    later = next(one for one in document["datasets"] if one["dataset"] == "later")
    assert all(copy["newest"] is None and copy["fresh"] is False for copy in later["copies"])


def test_copies_list_answers_as_promised(grown: Shop) -> None:
    document = grown.run("copies", "list", code=0).document
    for copy in document["copies"]:
        _has(
            copy,
            "repository",
            "copy",
            "location",
            "state",
            "objects",
            "bytes",
            "agrees",
            "medium",
            "upload_verification",
        )
        _has(copy["medium"], "kind", "ids", "declared")
        assert copy["state"] == "healthy"
        held = grown.names(copy["copy"])
        assert (copy["objects"], copy["bytes"]) == (len(held), sum(held.values()))
    disk, offsite = document["copies"]
    assert disk["upload_verification"] == "local-hash"
    assert offsite["upload_verification"] in ("sha256", "payload", "md5", "read-back")


def test_copies_list_tells_what_is_wrong_and_ends_with_3(grown: Shop) -> None:
    grown.packs("disk")[0].unlink()
    disk, offsite = grown.run("copies", "list", code=3).document["copies"]
    assert disk["state"] == "damaged"
    assert not disk["agrees"]
    grown.folders["disk"].rename(grown.folder / "unplugged")
    disk, offsite = grown.run("copies", "list", code=3).document["copies"]
    assert (disk["state"], offsite["state"]) == ("absent", "healthy")


def test_snapshots_and_restore_answer_as_promised(grown: Shop) -> None:
    document = grown.run("snapshots", code=0).document
    assert len(document["snapshots"]) == 2
    for snapshot in document["snapshots"]:
        _has(snapshot, "dataset", "snapshot", "time", "run", "files", "bytes", "copies")
        assert snapshot["copies"] == ["disk", "offsite"]
        _is_time(snapshot["time"])
    restored = grown.run("restore", "files", "--to", str(grown.folder / "back"), code=0).document
    _has(restored, "run", "dataset", "snapshot", "time", "source", "target", "files", "bytes", "seconds", "verified")
    _has(restored, "taken_from", "outcome")
    assert restored["outcome"] == "done"
    for taken in restored["taken_from"].values():
        _has(taken, "objects", "bytes")
        assert isinstance(taken["bytes"], int)


def test_evidence_verify_answers_as_promised(grown: Shop) -> None:
    document = grown.run("evidence", "verify", code=0).document
    _has(document, "ok", "events", "head")
    assert document["ok"] is True and document["events"] > 5 and len(document["head"]) == 64


def test_evidence_has_an_event_before_and_one_after_each_act(grown: Shop) -> None:
    run = grown.run("backup", code=0).document["run"]
    kinds = [event["kind"] for event in grown.run("evidence", "show", "--run", run, code=0).document["events"]]
    for act in ("backup", "snapshot", "replication"):
        assert kinds.index(f"{act}.started") < kinds.index(f"{act}.finished")
    restored = grown.run("restore", "files", "--to", str(grown.folder / "back"), code=0).document["run"]
    kinds = [event["kind"] for event in grown.run("evidence", "show", "--run", restored, code=0).document["events"]]
    assert kinds == ["restore.started", "restore.finished"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("backup", "filse"), 2),
        (("bakcup",), 2),
        (("backup", "--no-such-option"), 2),
        (("restore",), 2),
        (("restore", "files", "--to", "x", "--at", "2001-01-01"), 23),
        (("--config", "/nowhere/drtool.yaml", "status"), 2),
    ],
)
def test_errors_end_with_one_json_line_on_stderr(grown: Shop, words: tuple[str, ...], code: int) -> None:
    answer = grown.run(*words, code=code)
    assert answer.out == ""
    error = answer.error
    assert error["message_type"] == "exit_error"
    assert error["code"] == code
    assert error["message"] and not error["message"].endswith(".")
    _has(error, "hint")


def test_a_document_with_mistakes_ends_with_20_and_places(grown: Shop) -> None:
    grown.estate.write_text(grown.estate.read_text().replace('"paths"', '"pahts"'))
    answer = grown.run("backup", code=20)
    assert answer.error["code"] == 20
    assert "drtool.yaml:" in answer.err and "pahts" in answer.err


def test_a_restic_that_is_missing_or_too_old_ends_with_22(grown: Shop) -> None:
    old = grown.folder / "restic"
    old.write_text("#!/bin/sh\necho 'restic 0.14.0 compiled with go1.19 on linux/amd64'\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    answer = grown.run("backup", code=22, env={"DRTOOL_RESTIC": str(old)})
    assert "0.14.0" in answer.error["message"] and answer.error["hint"]
    grown.run("backup", code=22, env={"DRTOOL_RESTIC": "/nowhere/restic"})


@pytest.mark.parametrize(
    "words", [("backup",), ("copies", "init"), ("evidence", "verify"), ("status",), ("copies", "list"), ("validate",)]
)
def test_quiet_says_nothing_at_all_on_success(grown: Shop, words: tuple[str, ...]) -> None:
    answer = grown.run(*words, "--quiet", code=0, as_json=False)
    assert (answer.out, answer.err) == ("", "")


def test_quiet_restore_says_nothing_on_success(grown: Shop) -> None:
    answer = grown.run("restore", "files", "--to", str(grown.folder / "back"), "--quiet", code=0, as_json=False)
    assert (answer.out, answer.err) == ("", "")


def test_quiet_speaks_when_something_was_left_out(grown: Shop) -> None:
    grown.folders["disk"].rename(grown.folder / "unplugged")
    answer = grown.run("backup", "--quiet", code=3, as_json=False)
    assert "disk" in answer.out + answer.err
    assert "absent" in answer.out + answer.err


def test_a_reader_that_goes_away_does_no_harm(grown: Shop) -> None:
    """As `drtool snapshots | head -1`."""
    read, write = os.pipe()
    os.close(read)
    import subprocess

    from tests.end_to_end.shop import PROGRAMS

    run = subprocess.run(
        [str(PROGRAMS / "drtool"), "--config", str(grown.estate), "snapshots"],
        stdout=write, stderr=subprocess.PIPE, env=grown._environment(), timeout=60, check=False,
    )  # fmt: skip
    os.close(write)
    assert b"Traceback" not in run.stderr


def test_a_dry_run_of_a_backup_writes_nothing_and_tells_the_plan(grown: Shop) -> None:
    grown.packs("disk")[0].unlink()
    before = {name: grown.names(name) for name in grown.folders}
    plan = grown.run("backup", "--dry-run", code=0).document["plans"][0]
    assert plan["writer"] == "disk"
    assert len(plan["lost"]["disk"]) == 1
    assert [(send["from"], send["to"]) for send in plan["sends"]] == [("offsite", "disk")]
    assert {name: grown.names(name) for name in grown.folders} == before
