"""Runbooks by the command line: followed, cut off anywhere, resumed, agreed to, and never done twice by accident."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.adapters.test_process import eventually
from tests.end_to_end.shop import PROGRAMS, Answer, Shop
from tests.ssh import Sshd

REGISTER: dict[str, Any] = {
    "version": 1,
    "register": "Shop",
    "people": {
        "anna": {"name": "Anna", "phones": ["1", "2"], "accounts": ["root", "anna"]},
        "ben": {"name": "Ben", "phones": ["3", "4"], "accounts": ["ben"]},
        "cleo": {"name": "Cleo", "phones": ["5", "6"], "accounts": ["cleo"]},
    },
    "roles": {"admin": {"person": "anna", "deputy": "ben"}, "lead": {"person": "ben", "deputy": "anna"}},
}


class Desk:
    """A shop whose administrator has runbooks; ``log`` is where their steps write that they were done."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.log = shop, shop.folder / "log"
        self.folder = shop.folder / "runbooks"
        self.folder.mkdir(exist_ok=True)
        self.register = json.loads(json.dumps(REGISTER))
        shop.more |= {"runbooks": "runbooks", "register": "register.yaml"}
        shop.write()

    def write(self, *steps: Mapping[str, Any], name: str = "one", **more: Any) -> Path:
        book = {
            "version": 1, "runbook": name, "title": f"Runbook {name}", "revision": 1, "owner": "lead",
            "review_due": "2099-01-01", "executor": "admin", "objectives": {"rto": "2h"}, "steps": list(steps),
        } | more  # fmt: skip
        (self.shop.folder / "register.yaml").write_text(json.dumps(self.register))
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(book))
        return path

    def noting(self, name: str, effect: str = "idempotent", **more: Any) -> dict[str, Any]:
        """A step that notes each time that it is done."""
        return {
            "id": name, "title": f"Note {name}", "kind": "exec", "effect": effect, "drill": "run",
            "argv": ["sh", "-c", 'echo "$1" >> "$2"', "sh", name, str(self.log)],
        } | more  # fmt: skip

    @property
    def done(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def run(self, *words: str, name: str = "one", code: int | None = None, **more: Any) -> Answer:
        return self.shop.run("runbook", "run", name, *words, code=code, **more)

    def resume(self, *words: str, code: int | None = None) -> Answer:
        return self.shop.run("runbook", "resume", self.newest, *words, code=code)

    @property
    def runs(self) -> Path:
        return self.shop.state / "shop" / "runs"

    @property
    def newest(self) -> str:
        """The newest run that is not part of another."""
        own = [path for path in self.runs.iterdir() if path.name.count(".") == 0]
        return max(own, key=lambda path: path.stat().st_ctime_ns).name

    def journal(self, run: str = "") -> list[dict[str, Any]]:
        text = (self.runs / (run or self.newest) / "journal").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.journal()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    shop = Shop(folder=tmp_path / "shop")
    shop.add_directory("disk")
    shop.source.mkdir()
    (shop.source / "page.html").write_text("hello")
    shop.add_files()
    yield Desk(shop)
    shop.close()


def states(answer: Answer) -> dict[str, str]:
    return {step["id"]: step["state"] for step in answer.document["steps"]}


# A run


def test_a_run_does_its_steps_in_order_and_tells_when_each_was_done(desk: Desk) -> None:
    desk.write(desk.noting("b", needs=["a"], marks="service_restored"), desk.noting("a", needs=[]))
    run = desk.run(code=0).document
    assert desk.done == ["a", "b"]
    assert (run["state"], run["runbook"], run["mode"]) == ("completed", "one", "real")
    assert states(desk.run(code=0)) == {"a": "ok", "b": "ok"}
    assert all(step["started"] <= step["ended"] and step["attempts"] == 1 for step in run["steps"])
    assert run["rto"]["target"] == 7200 and 0 <= run["rto"]["measured"] < 60 and run["rto"]["waiting"] == 0


def test_every_act_is_on_disk_before_it_is_done(desk: Desk) -> None:
    journal = desk.shop.state / "shop" / "runs"
    look = f'cat {journal}/*/journal | grep -c step.acting; echo done >> "{desk.log}"'
    desk.write(desk.noting("a", argv=["sh", "-c", look]))
    desk.run(code=0)
    assert (desk.runs / desk.newest / "output" / "a.1").read_text().strip() == "1"
    assert desk.kinds() == [
        "run.started", "step.began", "step.acting", "step.acted", "step.ended", "run.ended",
    ]  # fmt: skip


def test_what_is_so_already_is_not_done(desk: Desk) -> None:
    desk.write(desk.noting("a", check={"probe": "file", "path": str(desk.shop.source)}))
    assert states(desk.run(code=0)) == {"a": "satisfied"}
    assert desk.done == []


def test_a_step_that_did_not_reach_its_aim_has_failed_though_its_program_ended_well(desk: Desk) -> None:
    desk.write(desk.noting("a", verify=[{"probe": "file", "path": "/none", "retries": 1, "interval": "1s"}]))
    assert states(desk.run(code=3)) == {"a": "failed"}
    assert "/none is not there" in desk.journal()[4]["body"]["reason"]


def test_a_dry_run_looks_and_does_nothing(desk: Desk) -> None:
    desk.write(desk.noting("a", verify=[{"probe": "file", "path": str(desk.log)}]))
    step = desk.run("--dry-run", code=0).document["steps"][0]
    assert (desk.done, desk.runs.exists()) == ([], False)
    assert [seen["verdict"] for seen in step["seen"]] == ["fail"]
    assert step["what"]["argv"][-1] == str(desk.log)


@pytest.mark.parametrize("value", ["$(id)", "it's; rm -rf /", 'say "x"', "a\nb", "{word}", "--help", "Grüße *"])
def test_a_parameter_is_one_argument_whatever_it_holds(desk: Desk, value: str) -> None:
    step = desk.noting("a", argv=["printf", "%s|", "{word}", "{{word}}"])
    desk.write(step, params={"word": {"type": "text"}})
    desk.run("--param", f"word={value}", code=0)
    assert (desk.runs / desk.newest / "output" / "a.1").read_text() == f"{value}|{{word}}|"


def test_parameters_that_are_missing_unknown_or_wrong_are_all_named_before_anything_begins(desk: Desk) -> None:
    kinds = {"number": {"type": "number"}, "where": {"type": "path"}, "host": {"type": "host"}}
    desk.write(desk.noting("a"), params=kinds | {"missing": {"type": "text", "text": "what it is"}})
    words = [word for pair in ("number=x", "where=here", "host=none", "other=1") for word in ("--param", pair)]
    message = desk.run(*words, code=2).error["message"]
    for part in ("number must be", "where must be", "host names no host", "no parameter other", "missing (what it is)"):
        assert re.search(re.escape(part).replace(r"missing\ ", r"missing is missing "), message), message
    assert not desk.runs.exists()


def test_a_secret_reaches_the_program_and_nothing_else(desk: Desk) -> None:
    (desk.shop.folder / "key").write_text("canary-7f3a\n")
    (desk.shop.folder / "key").chmod(0o600)
    step = desk.noting("a", argv=["sh", "-c", "tr -d '\\n' < $KEY | sha256sum"], secrets={"KEY": "key"})
    desk.write(step, params={"key": {"type": "secret", "secret": {"file": str(desk.shop.folder / "key")}}})
    answer = desk.run(code=0)
    kept = [path.read_text() for path in (desk.runs / desk.newest).rglob("*") if path.is_file()]
    assert any(hashlib.sha256(b"canary-7f3a").hexdigest() in text for text in kept)
    assert "canary" not in str([*kept, answer.out, answer.err])


def test_a_script_that_is_not_the_pinned_one_is_not_run(desk: Desk) -> None:
    script = desk.folder / "it.sh"
    script.write_text(f'#!/bin/sh\necho "$1" >> {desk.log}\n')
    digest = hashlib.sha256(script.read_bytes()).hexdigest()
    step = {"id": "a", "title": "A", "kind": "script", "effect": "once", "script": "it.sh", "args": ["x y"],
            "sha256": digest, "drill": "run"}  # fmt: skip
    desk.write(step)
    desk.run(code=0)
    assert desk.log.read_text() == "x y\n"
    script.write_text(f"#!/bin/sh\necho bad >> {desk.log}\n")
    assert states(desk.run(code=3)) == {"a": "failed"}
    assert "bad" not in desk.log.read_text()


# Failure


def test_a_failure_waits_for_a_word_and_retry_goes_on(desk: Desk) -> None:
    flag = desk.shop.folder / "flag"
    desk.write(desk.noting("a", argv=["test", "-e", str(flag)]), desk.noting("b"))
    answer = desk.run(code=3)
    assert answer.document["state"] == "paused_failed"
    flag.touch()
    assert desk.resume("--choose", "a=retry", code=0).document["state"] == "completed"
    assert desk.done == ["b"]


def test_to_skip_needs_a_reason_and_makes_an_exception(desk: Desk) -> None:
    desk.write(desk.noting("a", argv=["false"]), desk.noting("b"))
    desk.run(code=3)
    assert "reason" in desk.resume("--choose", "a=skip", code=2).error["message"]
    answer = desk.resume("--choose", "a=skip", "--reason", "not needed", code=3)
    assert answer.document["state"] == "completed_with_exceptions"
    assert answer.document["steps"][0]["reason"] == "not needed"


def test_to_undo_takes_back_what_was_done_the_latest_first_and_ends_the_run(desk: Desk) -> None:
    def undo(name: str) -> dict[str, Any]:
        return {"undo": {"argv": ["sh", "-c", 'echo "$1" >> "$2"', "sh", f"un-{name}", str(desk.log)]}}

    desk.write(desk.noting("a", **undo("a")), desk.noting("b", **undo("b")), desk.noting("c", argv=["false"]))
    desk.run(code=3)
    answer = desk.resume("--choose", "c=undo", "--reason", "wrong server", code=1)
    assert desk.done == ["a", "b", "un-b", "un-a"]
    assert states(answer) | {"state": answer.document["state"]} == {
        "a": "undone", "b": "undone", "c": "failed", "state": "aborted",
    }  # fmt: skip


def test_only_what_is_harmless_is_tried_again_by_itself(desk: Desk) -> None:
    note = ["sh", "-c", f"echo $0 >> {desk.log}; false"]
    again = {"retry": {"max": 2, "interval": "1s"}, "on_failure": "continue"}
    desk.write(desk.noting("a", argv=[*note, "a"], **again), desk.noting("b", "once", argv=[*note, "b"], **again))
    answer = desk.run(code=3)
    assert desk.done == ["a", "a", "a", "b"]
    assert answer.document["state"] == "completed_with_exceptions"


def test_a_step_that_hangs_is_ended_with_all_that_it_started(desk: Desk) -> None:
    pids = desk.shop.folder / "pids"
    script = f"sleep 600 & echo $! $$ > {pids}; trap '' TERM; sleep 600"
    desk.write(desk.noting("a", argv=["sh", "-c", script], timeout="2s"))
    assert states(desk.run(code=3)) == {"a": "timed_out"}
    assert eventually(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split()))


def test_what_a_step_prints_is_bounded_and_hashed_whole(desk: Desk) -> None:
    desk.write(desk.noting("a", argv=["sh", "-c", "head -c 100000000 /dev/zero; echo end"]))
    desk.run(code=0)
    acted = next(event for event in desk.journal() if event["kind"] == "step.acted")["body"]["output"]
    kept = (desk.runs / desk.newest / "output" / "a.1").read_bytes()
    assert acted["bytes"] == 100_000_004 and len(kept) < 3_000_000 and kept.endswith(b"end\n")
    whole = hashlib.sha256(b"\0" * 100_000_000 + b"end\n").hexdigest()
    assert acted["sha256"] == whole


def test_a_host_that_does_not_answer_fails_the_step_and_is_named(desk: Desk) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    known = desk.shop.folder / "known"
    known.touch()
    desk.register["hosts"] = {"far": {"ssh": {"address": "127.0.0.1", "port": port, "known_hosts": str(known)}}}
    desk.write(desk.noting("a", target="far"))
    answer = desk.run(code=3)
    assert states(answer) == {"a": "failed"} and "far" in answer.document["steps"][0]["reason"]


def test_a_missed_objective_is_told_by_the_exit_code(desk: Desk) -> None:
    desk.write(desk.noting("a", marks="service_restored"))
    day_before = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() - 86400))
    run = desk.run("--outage", day_before, code=21).document
    assert run["state"] == "completed" and run["rto"]["measured"] > 86000


# Cut off, and resumed


def cut_off(desk: Desk, number: int, when: str, *words: str) -> int:
    environment = desk.shop._environment() | {"DYING_AT": str(number), "DYING": when, "PYTHONPATH": os.getcwd()}
    argv = [sys.executable, "-m", "tests.end_to_end.dying", "--config", str(desk.shop.estate), *words]
    done = subprocess.run(argv, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    return done.returncode


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_event_of_the_journal_it_goes_on_and_does_nothing_twice(desk: Desk, when: str) -> None:
    """Three steps have three ways out: one may be repeated, one says whether it was done, one asks."""
    log = str(desk.log)
    desk.write(
        desk.noting("harmless"),
        desk.noting("checked", "destructive", check={"probe": "file", "path": log, "contains": "checked"}),
        desk.noting("once", "once"),
    )
    number, died = 0, -signal.SIGKILL
    while True:
        desk.log.unlink(missing_ok=True)
        number += 1
        if cut_off(desk, number, when, "runbook", "run", "one") != died:
            break
        answer = desk.resume("--json") if (desk.runs / desk.newest / "journal").stat().st_size else None
        if answer is None:
            continue  # nothing was begun, and the journal says so
        if answer.code == 3:
            assert answer.document["state"] == "paused_in_doubt"
            truth = "done" if "once" in desk.done else "again"
            answer = desk.resume("--choose", f"once={truth}", "--choose", "checked=again")
        assert (answer.code, answer.document["state"]) == (0, "completed"), (number, str(answer))
        assert desk.done.count("once") == desk.done.count("checked") == 1, (number, desk.done)
        assert desk.done.count("harmless") in (1, 2)
    assert number == 15  # every event was cut at


@pytest.mark.parametrize(("effect", "asks"), [("idempotent", False), ("once", True), ("destructive", True)])
def test_killed_in_the_middle_of_a_step_it_asks_where_doing_it_again_could_harm(
    desk: Desk, effect: str, asks: bool
) -> None:
    go = desk.shop.folder / "go"
    script = f'echo begun >> "{desk.log}"; test -e {go} || exec sleep 600'
    desk.write(desk.noting("a", effect, argv=["sh", "-c", script]))
    running = desk.shop.start("runbook", "run", "one")
    assert eventually(lambda: desk.done == ["begun"])
    running.process.kill()
    running.process.wait()
    assert eventually(lambda: not any("sleep 600" in words for words in desk.shop.processes().values()))
    go.touch()
    answer = desk.resume(code=3 if asks else 0)
    assert answer.document["state"] == ("paused_in_doubt" if asks else "completed")
    if asks:
        assert desk.done == ["begun"]
        desk.resume("--choose", "a=again", code=0)
    assert desk.done == ["begun", "begun"]


def test_ctrl_c_leaves_a_run_that_can_go_on(desk: Desk) -> None:
    go = desk.shop.folder / "go"
    desk.write(
        desk.noting("a"), desk.noting("b", argv=["sh", "-c", f'echo b >> "{desk.log}"; test -e {go} || sleep 600'])
    )
    running = desk.shop.start("runbook", "run", "one")
    assert eventually(lambda: desk.done == ["a", "b"])
    os.kill(running.process.pid, signal.SIGINT)
    assert running.wait().code == 130
    go.touch()
    desk.resume(code=0)
    assert desk.done == ["a", "b", "b"]


def test_two_cannot_carry_on_the_same_run(desk: Desk) -> None:
    go = desk.shop.folder / "go"
    desk.write(desk.noting("a", argv=["sh", "-c", f'echo a >> "{desk.log}"; until test -e {go}; do sleep 0.1; done']))
    running = desk.shop.start("runbook", "run", "one")
    assert eventually(lambda: desk.done == ["a"])
    assert desk.newest in desk.resume(code=11).error["message"]
    assert desk.shop.run("runbook", "show", desk.newest, code=3).document["steps"][0]["state"] == "running"
    go.touch()
    assert running.wait().code == 0
    assert desk.done == ["a"]


def test_a_runbook_that_was_changed_meanwhile_is_refused_unless_somebody_says_why(desk: Desk) -> None:
    desk.write(desk.noting("a"), desk.noting("b", argv=["false"]))
    desk.run(code=3)
    desk.write(desk.noting("a"), desk.noting("b"))
    answer = desk.resume("--choose", "b=retry", code=2)
    assert "was changed" in answer.error["message"] and "--amend" in answer.error["hint"]
    desk.resume("--choose", "b=retry", "--amend", "the argument was wrong", code=0)
    assert desk.done == ["a", "b"]
    assert "run.amended" in desk.kinds()


def test_what_was_done_is_looked_at_again_and_told_where_it_is_no_longer_so(desk: Desk) -> None:
    flag = desk.shop.folder / "flag"
    desk.write(
        desk.noting("a", argv=["touch", str(flag)], verify=[{"probe": "file", "path": str(flag)}]),
        desk.noting("b", argv=["false"]),
    )
    desk.run(code=3)
    flag.unlink()
    answer = desk.resume("--choose", "b=skip", "--reason", "r", code=3)
    assert "a was done, but" in answer.err
    assert not flag.exists()


def test_a_journal_that_was_changed_is_refused(desk: Desk) -> None:
    desk.write(desk.noting("a", argv=["false"]))
    desk.run(code=3)
    path = desk.runs / desk.newest / "journal"
    path.write_text(path.read_text().replace('"good":false', '"good":true'))
    assert "was changed" in desk.resume(code=1).error["message"]


# People


def agree(desk: Desk, **more: Any) -> dict[str, Any]:
    return {"id": "agree", "title": "Agree", "kind": "approve", "by": "lead", "timeout": "1h"} | more


def approve(desk: Desk, account: str, code: int) -> Answer:
    return desk.shop.run("runbook", "approve", desk.newest, "agree", env={"SUDO_USER": account}, code=code)


def test_only_another_person_with_the_role_can_agree(desk: Desk) -> None:
    desk.write(agree(desk, break_glass=True), desk.noting("a", "destructive"))
    assert desk.run("--yes", code=3).document["state"] == "waiting_approval"
    approve(desk, "root", 2)  # carries it out
    approve(desk, "anna", 2)  # is the same person under another login
    approve(desk, "cleo", 2)  # does not have the role
    approve(desk, "nobody", 2)
    assert desk.resume("--yes", code=3).document["state"] == "waiting_approval"
    approve(desk, "ben", 0)
    desk.resume(code=0)
    assert desk.done == ["a"]


def test_whoever_resumed_a_run_cannot_agree_to_it_either(desk: Desk) -> None:
    desk.write(agree(desk), desk.noting("a"))
    desk.run(code=3)
    desk.shop.run("runbook", "resume", desk.newest, env={"SUDO_USER": "ben"}, code=3)
    approve(desk, "ben", 2)


def test_agreement_is_to_the_text_as_it_was(desk: Desk) -> None:
    desk.write(agree(desk), desk.noting("a"))
    desk.run(code=3)
    approve(desk, "ben", 0)
    desk.write(agree(desk), desk.noting("b"))
    assert desk.resume("--amend", "another step", code=3).document["state"] == "waiting_approval"
    approve(desk, "ben", 0)
    desk.resume(code=0)
    assert desk.done == ["b"]


def test_agreement_is_given_to_what_is_asked_for_only(desk: Desk) -> None:
    desk.write(desk.noting("first", argv=["false"]), agree(desk), desk.noting("a"))
    desk.run(code=3)
    approve(desk, "ben", 2)


def test_a_change_does_not_lose_what_has_begun(desk: Desk) -> None:
    desk.write(desk.noting("a", "once"), desk.noting("b", argv=["false"]))
    desk.run(code=3)
    desk.write(desk.noting("renamed", "once"), desk.noting("b"))
    assert "gone" in desk.resume("--amend", "renamed", code=2).error["message"]
    assert desk.done == ["a"]


def test_agreement_given_while_the_run_waits_before_a_terminal_lets_it_go_on(desk: Desk) -> None:
    desk.write(agree(desk), desk.noting("a"))
    with Terminal(desk, "runbook", "run", "one") as terminal:
        terminal.wait_for("runbook approve")
        assert desk.done == []
        approve(desk, "ben", 0)
        assert terminal.end() == 0
    assert desk.done == ["a"]


def test_the_glass_is_broken_with_a_reason_that_is_kept(desk: Desk) -> None:
    desk.write(agree(desk, break_glass=True), desk.noting("a"))
    desk.run(code=3)
    desk.resume("--choose", "agree=break-glass", code=2)
    answer = desk.resume("--choose", "agree=break-glass", "--reason", "nobody answers", code=3)
    assert answer.document["state"] == "completed_with_exceptions"
    assert any(event["body"].get("reason") == "nobody answers" for event in desk.journal())
    desk.write(agree(desk), desk.noting("a"), name="strict")
    desk.run(name="strict", code=3)
    desk.resume("--choose", "agree=break-glass", "--reason", "r", code=2)


def test_waiting_too_long_for_agreement_tells_the_next_and_agrees_to_nothing(desk: Desk) -> None:
    desk.write(agree(desk, timeout="1s", escalate_to="admin"), desk.noting("a"))
    with Terminal(desk, "runbook", "run", "one") as terminal:
        terminal.wait_for("it takes long; tell Anna")
        assert desk.done == [] and "escalated" in desk.kinds()
        terminal.process.kill()
    assert desk.resume(code=3).document["state"] == "waiting_approval"


def test_answers_lead_the_way_and_start_the_legal_clocks(desk: Desk) -> None:
    questions = {
        "cause": {"type": "choice", "text": "What?", "values": ["crash", "attack"]},
        "personal_data": {"type": "bool", "text": "Affected?"},
    }
    emit = [{"when": {"personal_data": True}, "event": "breach.aware"}]
    desk.write(
        {"id": "decide", "title": "D", "kind": "decide", "ask": questions, "emit": emit},
        desk.noting("crash", when={"cause": "crash"}),
        desk.noting("attack", when={"cause": ["attack", "other"]}),
        clocks=[{"id": "33", "start": "breach.aware", "deadline": "72h", "duty": "Art. 33(1)"}],
    )
    assert desk.run(code=3).document["state"] == "waiting_manual"
    desk.resume("--answer", "cause=fire", "--answer", "personal_data=yes", code=2)
    answer = desk.resume("--answer", "cause=attack", "--answer", "personal_data=yes", code=0)
    assert desk.done == ["attack"]
    assert states(answer) == {"decide": "ok", "crash": "not_reached", "attack": "ok"}
    assert [duty["duty"] for duty in answer.document["duties"]] == ["Art. 33(1)"]
    assert answer.document["rto"]["waiting"] > 0


def test_work_by_hand_waits_and_is_noted(desk: Desk) -> None:
    desk.write({"id": "m", "title": "M", "kind": "manual", "checklist": ["look"], "drill": "run",
                "ask": {"count": {"type": "number", "text": "How many?"}}})  # fmt: skip
    assert desk.run("--yes", code=3).document["state"] == "waiting_manual"  # a number is not made up
    desk.resume("--answer", "count=17", code=0)
    assert any(event["body"].get("answers") == {"count": 17} for event in desk.journal())


class Terminal:
    """drtool before a terminal of its own."""

    def __init__(self, desk: Desk, *words: str) -> None:
        self._mine, theirs = pty.openpty()
        argv = [str(PROGRAMS / "drtool"), "--config", str(desk.shop.estate), *words]
        environment = desk.shop._environment() | {"TERM": "xterm", "COLUMNS": "120", "LINES": "50"}
        self.process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
                                        start_new_session=True)  # fmt: skip
        os.close(theirs)
        self.seen, self._at = "", 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._mine)

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode() + b"\n")

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """After what was waited for before."""
        end = time.monotonic() + seconds
        while text not in self.seen[self._at :]:
            assert time.monotonic() < end, self.seen
            self._read()
        self._at = self.seen.index(text, self._at) + len(text)

    def end(self) -> int:
        while self.process.poll() is None:
            self._read()
        return self.process.wait()

    def _read(self) -> None:
        with suppress(OSError):
            if not select.select([self._mine], [], [], 0.2)[0]:
                return
            self.seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self._mine, 65536).decode(errors="replace"))


def test_at_a_terminal_it_asks_and_takes_what_is_typed(desk: Desk) -> None:
    flag = desk.shop.folder / "flag"
    questions = {"why": {"type": "choice", "text": "Why?", "values": ["fire", "water"]}}
    desk.write(
        {"id": "d", "title": "What happened", "kind": "decide", "ask": questions},
        desk.noting("a", argv=["test", "-e", str(flag)]),
        desk.noting("b", argv=["false"]),
    )
    with Terminal(desk, "runbook", "run", "one") as terminal:
        terminal.wait_for("What happened")
        terminal.wait_for("> ")
        terminal.type("done")
        terminal.wait_for("why: Why?")
        terminal.type("wind")
        terminal.wait_for("must be one of")
        terminal.type("water")
        terminal.wait_for("retry")
        terminal.wait_for("> ")
        flag.touch()
        terminal.type("r")
        terminal.wait_for("b: failed: false ended with 1")
        terminal.wait_for("abort  ")
        terminal.wait_for("> ")
        terminal.type("skip")
        terminal.wait_for("reason")
        terminal.type("not today")
        assert terminal.end() == 3
        assert "RTO 2:00:00" in terminal.seen
    assert desk.kinds()[-1] == "run.ended"


# Drills


def test_a_drill_destroys_only_in_the_sandbox(desk: Desk) -> None:
    desk.write(desk.noting("a", "destructive"), desk.noting("b", "destructive", drill="skip"))
    assert "a" in desk.run("--drill", code=2).error["message"]
    assert desk.done == []
    desk.register["hosts"] = {"here": {"sandbox": True}}
    desk.write(desk.noting("a", "destructive"), desk.noting("b", "destructive", drill="skip"))
    answer = desk.run("--drill", code=3)
    assert (desk.done, states(answer)) == (["a"], {"a": "ok", "b": "skipped"})
    assert answer.document["mode"] == "drill"


def test_a_drill_takes_a_step_that_says_nothing_for_one_that_is_run(desk: Desk) -> None:
    step = desk.noting("a", "destructive")
    del step["drill"]
    desk.write(step)
    desk.run("--drill", code=2)
    desk.register["hosts"] = {"here": {}, "lab": {"sandbox": True}}  # one of this machine's names does not allow it
    desk.write(step)
    desk.run("--drill", code=2)
    assert desk.done == []


def test_a_drill_that_goes_on_destroys_no_more_than_one_that_begins(desk: Desk) -> None:
    wait = {"id": "m", "title": "M", "kind": "manual", "checklist": ["x"], "drill": "run"}
    desk.write(wait, desk.noting("a", "destructive", drill="simulate"))
    desk.run("--drill", code=3)
    desk.write(wait, desk.noting("a", "destructive", drill="run"))
    desk.resume("--amend", "r", "--yes", code=2)
    assert desk.done == []


# What would go wrong in the middle


@pytest.mark.parametrize(
    "needs", [{"kill": ["agre"]}, {"agree": ["kill"], "kill": ["agree"]}], ids=["misspelt", "in a ring"]
)
def test_steps_that_need_what_is_not_there_are_refused_before_anything_begins(
    desk: Desk, needs: dict[str, list[str]]
) -> None:
    steps = [desk.noting("kill", "destructive"), agree(desk)]
    desk.write(*({**step, **({"needs": needs[step["id"]]} if step["id"] in needs else {})} for step in steps))
    assert "cannot be run" in desk.run(code=2).error["message"]
    assert desk.done == []


def test_runbooks_that_run_one_another_are_refused(desk: Desk) -> None:
    desk.write({"id": "x", "title": "X", "kind": "runbook", "runbook": "two"})
    desk.write({"id": "x", "title": "X", "kind": "runbook", "runbook": "one"}, name="two")
    assert "runs it again" in desk.run(code=2).error["message"]


def test_a_check_that_cannot_tell_keeps_what_could_harm_from_being_done(desk: Desk) -> None:
    check = {"probe": "file", "path": "/x", "target": "ghost"}
    desk.write(desk.noting("a", "destructive", check=check), desk.noting("b"))
    answer = desk.run(code=3)
    assert desk.done == [] and "cannot tell" in answer.document["steps"][0]["reason"]


def test_what_outlived_a_killed_drtool_is_ended_before_the_step_is_done_again(desk: Desk) -> None:
    go, log = desk.shop.folder / "go", desk.log
    first = f'sh -c "sleep 600; echo late >> {log}" & echo begun >> {log}; wait'
    script = f"if test -e {go}; then echo again >> {log}; else {first}; fi"
    desk.write(desk.noting("a", argv=["sh", "-c", script], timeout="20m"))
    running = desk.shop.start("runbook", "run", "one")
    assert eventually(lambda: desk.done == ["begun"])
    running.process.kill()
    running.process.wait()
    go.touch()
    answer = desk.resume(code=0)
    assert "was still at work" in answer.err
    assert desk.done == ["begun", "again"]


def test_evidence_that_is_kept_again_does_not_write_over_what_was_kept(desk: Desk) -> None:
    desk.write({"id": "e", "title": "E", "kind": "evidence", "collect": {"when": ["date", "+%N"], "no": ["false"]}})
    desk.run(code=3)
    before = (desk.runs / desk.newest / "kept" / "e.when").read_bytes()
    desk.resume("--choose", "e=retry", code=3)
    kept = desk.runs / desk.newest / "kept"
    assert (kept / "e.when").read_bytes() == before != (kept / "e.when.2").read_bytes()


def test_a_secret_that_a_program_prints_is_kept_nowhere(desk: Desk) -> None:
    (desk.shop.folder / "key").write_text("canary-7f3a\n")
    (desk.shop.folder / "key").chmod(0o600)
    step = desk.noting("a", argv=["sh", "-c", "cat $KEY; cat $KEY >&2; exit 1"], secrets={"KEY": "key"})
    desk.write(step, params={"key": {"type": "secret", "secret": {"file": str(desk.shop.folder / "key")}}})
    answer = desk.run(code=3)
    kept = [path.read_text() for path in (desk.runs / desk.newest).rglob("*") if path.is_file()]
    assert "[secret]" in str(kept) and "canary" not in str([*kept, answer.out, answer.err])
    assert "is a secret" in desk.run("--param", "key=typed", code=2).error["message"]


def test_a_journal_whose_end_was_cut_off_is_known_by_the_evidence(desk: Desk) -> None:
    desk.write(desk.noting("a"))
    desk.run(code=0)
    path = desk.runs / desk.newest / "journal"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert "was cut" in desk.resume(code=1).error["message"]
    assert desk.done == ["a"]


def test_runs_that_have_not_ended_are_listed_with_what_they_wait_for(desk: Desk) -> None:
    desk.write(desk.noting("a", argv=["false"]))
    desk.run(code=3)
    assert desk.shop.run("runbook", "list", code=0).document["runs"] == [
        {"run": desk.newest, "runbook": "one", "state": "paused_failed"}
    ]


# Runbooks within runbooks, and drtool's own flows


def test_a_runbook_within_another_goes_on_where_it_was_cut_off(desk: Desk) -> None:
    flag = desk.shop.folder / "flag"
    inner = {"id": "inner", "title": "I", "kind": "runbook", "runbook": "two", "params": {"word": "{word}!"}}
    desk.write(inner, desk.noting("after"), params={"word": {"type": "text", "default": "hello"}})
    first = desk.noting("first", argv=["sh", "-c", f'echo "$0" >> "{desk.log}"', "{word}"])
    desk.write(first, desk.noting("second", argv=["test", "-e", str(flag)]), name="two",
               params={"word": {"type": "text"}})  # fmt: skip
    assert desk.run(code=3).document["state"] == "paused_failed"
    flag.touch()
    desk.resume("--choose", "second=retry", code=0)
    assert desk.done == ["hello!", "after"]


def test_a_restore_a_hold_and_a_backup_are_drtools_own(desk: Desk) -> None:
    desk.shop.init()
    desk.shop.run("backup", code=0)
    page = desk.shop.source / "page.html"
    page.write_text("defaced")
    step: Callable[..., dict[str, Any]] = lambda name, kind, **more: {  # noqa: E731
        "id": name, "title": name, "kind": kind, "drill": "skip", **more,
    }  # fmt: skip
    desk.write(
        step("freeze", "hold"),
        step("bring-back", "restore", dataset="files", in_place=True),
        step("look", "probe", do=[{"probe": "file", "path": str(page), "contains": "hello"}]),
        step("fail", "exec", effect="once", argv=["false"]),
        step("save", "backup"),
        step("copies", "probe", do=[{"probe": "copies"}]),
        step("thaw", "hold", action="release"),
    )
    desk.run(code=3)
    assert page.read_text() == "hello"
    assert any("runbook run" in hold["reason"] for hold in desk.shop.run("hold", "list").document["holds"])
    desk.resume("--choose", "fail=skip", "--reason", "r", code=3)
    assert not any("runbook run" in hold["reason"] for hold in desk.shop.run("hold", "list").document["holds"])
    kinds = [event["kind"] for event in desk.shop.run("evidence", "show").document["events"]]
    assert {"runbook.started", "runbook.ended"} <= set(kinds)


def test_evidence_is_kept_with_its_digests(desk: Desk) -> None:
    desk.write({"id": "e", "title": "E", "kind": "evidence", "collect": {"who": ["echo", "me"]},
                "files": [str(desk.shop.source)], "drill": "run"})  # fmt: skip
    desk.run(code=0)
    kept = desk.runs / desk.newest / "kept"
    acted = next(event for event in desk.journal() if event["kind"] == "step.acted")["body"]["kept"]
    assert acted == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept.iterdir()}
    assert (kept / "e.who").read_text() == "me\n" and len(acted) == 2


# Diagnosis


def test_diagnose_names_what_fits_and_waits_for_nothing_longer_than_ten_seconds(desk: Desk) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        slow = {"probe": "http", "url": url, "expect": "failing", "timeout": "60s"}
        gone = {"probe": "file", "path": "/none", "expect": "failing", "text": "the page is gone"}
        desk.write(desk.noting("a"), name="fits", detect={"any": [gone]})
        desk.write(desk.noting("a"), name="both", detect={"all": [gone, {"probe": "file", "path": "/also-none"}]})
        desk.write(desk.noting("a"), name="slow", detect={"any": [slow] * 12})
        (desk.folder / "broken.yaml").write_text("runbook: broken\n")
        answer = desk.shop.run("diagnose", code=0)
    assert [one["runbook"] for one in answer.document["fits"] if one["runbook"] != "slow"] == ["fits"]
    assert "the page is gone" in answer.document["fits"][0]["reason"]
    assert answer.document["unreadable"] == ["broken"]
    assert answer.seconds < 20  # ten, and a start on a busy machine
    assert len(answer.document["probes"]) == 15


def test_a_clock_that_starts_in_a_runbook_within_runs_for_the_whole(desk: Desk) -> None:
    duty = [{"id": "33", "start": "breach.aware", "deadline": "72h", "duty": "Art. 33(1)"}]
    ask = {"personal_data": {"type": "bool", "text": "Affected?"}}
    emit = [{"when": {"personal_data": True}, "event": "breach.aware"}]
    desk.write({"id": "inner", "title": "I", "kind": "runbook", "runbook": "two"}, clocks=duty)
    desk.write({"id": "d", "title": "D", "kind": "decide", "ask": ask, "emit": emit}, name="two", clocks=duty)
    assert desk.run("--answer", "personal_data=yes", code=0).document["duties"][0]["duty"] == "Art. 33(1)"


def test_a_runbook_within_another_killed_at_each_event_does_nothing_twice(desk: Desk) -> None:
    desk.write({"id": "inner", "title": "I", "kind": "runbook", "runbook": "two"}, desk.noting("after", "once"))
    desk.write(desk.noting("once", "once"), name="two")
    number = 0
    while True:
        desk.log.unlink(missing_ok=True)
        number += 1
        if cut_off(desk, number, "before", "runbook", "run", "one") != -signal.SIGKILL:
            break
        if not (desk.runs / desk.newest / "journal").stat().st_size:
            continue
        answer = desk.resume()
        for step in ("once", "after"):
            if answer.document["state"] == "paused_in_doubt":
                answer = desk.resume("--choose", f"{step}={'done' if step in desk.done else 'again'}")
        assert answer.document["state"] == "completed", (number, str(answer))
        assert sorted(desk.done) == ["after", "once"], number
    assert number == 17


# Hosts of the register


def far(desk: Desk, sshd: Sshd) -> None:
    ssh = {
        "address": "127.0.0.1",
        "port": sshd.port,
        "identity": str(sshd.identity),
        "known_hosts": str(sshd.known_hosts),
    }
    on, log = str(desk.shop.folder / "on"), str(desk.log)
    service = {"start": ["touch", on], "stop": ["rm", on], "status": ["test", "-e", on]}
    desk.register["hosts"] = {"far": {"ssh": ssh, "services": {"shop": service}}}
    desk.register["values"] = {"log": log}


def test_steps_act_on_a_host_of_the_register(desk: Desk, tmp_path: Path) -> None:
    with Sshd(folder_of(tmp_path)) as sshd:
        far(desk, sshd)
        script = desk.folder / "it.sh"
        script.write_text('#!/bin/sh\necho "$1" >> "$2"\n')
        digest = hashlib.sha256(script.read_bytes()).hexdigest()
        active = {"probe": "service", "target": "{where}", "service": "shop"}
        desk.write(
            desk.noting("exec", target="{where}"),
            {"id": "script", "title": "S", "kind": "script", "effect": "once", "script": "it.sh", "sha256": digest,
             "args": ["$(id)", str(desk.log)], "target": "{where}", "drill": "run"},
            {"id": "service", "title": "S", "kind": "service", "service": "shop", "action": "start", "drill": "run",
             "target": "{where}", "check": active, "verify": [active]},
            {"id": "keep", "title": "E", "kind": "evidence", "collect": {"who": ["id"]}, "target": "{where}"},
            params={"where": {"type": "host", "default": "far"}},
        )  # fmt: skip
        answer = desk.run(code=0)
    assert states(answer) == dict.fromkeys(("exec", "script", "service", "keep"), "ok")
    assert "Accepted publickey" in (sshd.folder / "log").read_text()
    assert desk.log.read_text() == "exec\n$(id)\n"


def test_a_host_that_vanishes_in_the_middle_of_a_step_pauses_the_run(desk: Desk, tmp_path: Path) -> None:
    with Sshd(folder_of(tmp_path)) as sshd:
        far(desk, sshd)
        step = desk.noting("a", "once", target="far", argv=["sh", "-c", f'echo a >> "{desk.log}"; sleep 8'])
        desk.write(step | {"timeout": "40s"})
        running = desk.shop.start("runbook", "run", "one")
        assert eventually(lambda: desk.done == ["a"])
        sshd.kill()
        answer = running.wait()
        assert answer.document["state"] == "paused_failed"
        assert "far" in answer.document["steps"][0]["reason"]
    assert desk.done == ["a"]


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "ssh"
    folder.mkdir()
    return folder


def test_a_wrong_word_said_beforehand_ends_the_command_and_not_the_run(desk: Desk) -> None:
    desk.write({"id": "inner", "title": "I", "kind": "runbook", "runbook": "two"})
    desk.write(desk.noting("a", argv=["false"]), name="two")
    desk.run(code=3)
    assert "one of" in desk.resume("--choose", "a=retri", code=2).error["hint"]
    assert desk.resume("--choose", "a=skip", "--reason", "r", code=3).document["steps"][0]["state"] == "ok"


def test_a_word_for_what_nobody_asks_is_refused_before_anything_begins(desk: Desk) -> None:
    desk.write(desk.noting("slow", argv=["false"]))
    assert "did you mean slow?" in desk.run("--choose", "slwo=retry", code=2).error["message"]
    assert not desk.runs.exists()
    desk.run(code=3)
    desk.resume("--choose", "slwo=abort", "--reason", "r", code=2)
    assert desk.shop.run("runbook", "show", desk.newest).document["state"] == "paused_failed"


def test_what_was_done_is_shown_whatever_became_of_the_runbook(desk: Desk) -> None:
    path = desk.write(desk.noting("a"), desk.noting("b"))
    desk.run(code=0)
    desk.write(desk.noting("a", title="Something else"))
    shown = desk.shop.run("runbook", "show", desk.newest, code=0).document["steps"]
    assert [(step["id"], step["title"]) for step in shown] == [("a", "Note a"), ("b", "Note b")]
    path.unlink()
    desk.shop.run("runbook", "show", desk.newest, code=0)


def test_a_run_that_was_aborted_names_the_hold_that_it_leaves(desk: Desk) -> None:
    desk.shop.init()
    desk.write({"id": "h", "title": "H", "kind": "hold", "drill": "run"}, desk.noting("a", argv=["false"]))
    desk.run(code=3)
    assert "drtool hold release" in desk.resume("--choose", "a=abort", "--reason", "r", code=1).err


def test_lint_names_what_is_not_there_and_what_is_still_to_be_filled_in(desk: Desk) -> None:
    desk.write(desk.noting("a", title="BITTE EINTRAGEN"))
    desk.shop.run("runbook", "lint", "nosuch", code=2)
    problems = desk.shop.run("runbook", "lint", "one").document["problems"]
    assert any("BITTE EINTRAGEN" in problem["message"] for problem in problems)


def test_an_old_journal_that_was_changed_does_not_hinder_a_new_run(desk: Desk) -> None:
    desk.write(desk.noting("a"))
    desk.run(code=0)
    (desk.runs / desk.newest / "journal").write_text("{}\n")
    (old,) = desk.shop.run("runbook", "list", code=0).document["runs"]
    assert old["state"] == "changed"
    desk.run(code=0)
    assert desk.done == ["a", "a"]
