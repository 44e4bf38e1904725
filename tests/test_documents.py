"""The documents that travel with drtool: emergency instructions, restart concept, and the register's template."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drtool.documents import runbook as models
from drtool.documents.durations import format_duration
from drtool.documents.loader import check_document, load_procedures, load_register
from drtool.documents.part import Part
from drtool.documents.register import Register
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import (
    ApproveStep,
    BackupStep,
    DecideStep,
    EvidenceStep,
    ExecStep,
    HoldStep,
    Runbook,
    ScriptStep,
    ServiceStep,
)
from tools.digests import pinned

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "runbooks"
PROCEDURES = load_procedures(FOLDER)
RUNBOOKS = [one.document for one in PROCEDURES if isinstance(one.document, Runbook)]
SCRIPTS = sorted((FOLDER / "scripts").iterdir())
ASKED = {  # what only whoever begins a run can know
    "nwb-05-compromise": {"snapshot"},
    "nwb-06-ransomware": {"snapshot"},
    "nwb-12-copy-lost": {"copy"},
    "nwb-13-deletion": {"path"},
}
BUILT_IN = {"run", "site", "runbook", "evidence"}
every_runbook = pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.runbook)


@pytest.fixture(scope="module")
def register() -> Register:
    return load_register(ROOT / "drtool/documents/register.yaml")


@pytest.fixture(scope="module")
def concept() -> RestartConcept:
    (found,) = (one.document for one in PROCEDURES if isinstance(one.document, RestartConcept))
    return found


@pytest.mark.parametrize("procedure", PROCEDURES, ids=lambda procedure: procedure.id)
def test_every_shipped_document_loads_and_is_named_like_its_file(procedure: Any) -> None:
    assert procedure.problems == ()
    assert procedure.id == procedure.path.stem
    assert procedure.document.title_en
    assert procedure.document.approved is None, "only its user can release it"


def test_there_are_fourteen_instructions_and_one_concept(concept: RestartConcept) -> None:
    assert [runbook.runbook[:6] for runbook in RUNBOOKS] == [f"nwb-{number:02}" for number in range(1, 15)]
    assert {system.runbook for system in concept.systems.values()} <= {runbook.runbook for runbook in RUNBOOKS}


@pytest.mark.parametrize(("path", "text"), pinned().items(), ids=lambda value: getattr(value, "stem", ""))
def test_the_pinned_digests_are_those_of_the_scripts_run_make_schemas(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text


def test_the_runbook_in_the_docs_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/runbooks.md").read_text(), re.DOTALL)
    (tmp_path / "example.yaml").write_text(example)
    assert check_document(tmp_path / "example.yaml") == ()


@every_runbook
def test_the_docs_list_every_runbook(runbook: Runbook) -> None:
    assert f"| `{runbook.runbook}` |" in (ROOT / "docs/runbooks.md").read_text()


def test_the_docs_name_every_key_of_runbooks_and_steps() -> None:
    text = (ROOT / "docs/runbooks.md").read_text()
    kinds = [model for model in vars(models).values() if isinstance(model, type) and issubclass(model, models._Step)]
    keys = {field.alias or name for model in (Runbook, *kinds) for name, field in model.model_fields.items()}
    assert {key for key in keys if f"`{key}`" not in text} == set()


def test_the_docs_name_every_key_of_the_restart_concept() -> None:
    text = (ROOT / "docs/restart-concept.md").read_text()
    keys = set(RestartConcept.model_fields) - {"version", "title", "title_en"}
    assert {key for key in keys if not re.search(rf"`{key}[`.]", text)} == set()


def test_every_script_is_pinned_by_a_runbook() -> None:
    named = {step.script for runbook in RUNBOOKS for step in runbook.steps if isinstance(step, ScriptStep)}
    assert named == set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_is_sound_and_refuses_to_run_without_arguments(script: Path) -> None:
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in text
    for shell in ("bash", "dash"):
        subprocess.run([shell, "-n", script], check=True)
    refused = subprocess.run([script], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert f"Aufruf: {script.name} " in refused.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_that_comes_by_its_standard_input_is_not_eaten_by_its_children(script: Path) -> None:
    done = subprocess.run(
        ["sh", "/dev/stdin"], input=script.read_bytes(), capture_output=True, check=False
    )  # as on another host
    assert done.returncode == 2
    assert "\nexec </dev/null" in script.read_text()


@every_runbook
def test_every_parameter_has_a_value_here_or_is_asked_for_on_purpose(runbook: Runbook, register: Register) -> None:
    open_ = {name for name, one in runbook.params.items() if one.default is None and name not in register.values}
    assert open_ == ASKED.get(runbook.runbook, set())


def test_a_parameter_is_the_same_in_every_runbook() -> None:
    kept: dict[str, Any] = {}
    for runbook in RUNBOOKS:
        for name, param in runbook.params.items():
            if name != "snapshot":  # 05 and 06 take no default
                assert kept.setdefault(name, param) == param, f"{runbook.runbook}: {name}"


def test_the_registers_values_are_those_of_the_defaults_where_there_are_any(register: Register) -> None:
    params = {name: param for runbook in RUNBOOKS for name, param in runbook.params.items()}
    assert set(register.values) - set(params) == set(), "no value without a parameter"
    for name, value in register.values.items():
        param = params[name]
        assert param.default is None or str(param.default) == value or name in ("zone_file",), name
        assert param.pattern is None or re.fullmatch(param.pattern, value), name


@every_runbook
def test_every_name_in_braces_is_a_parameter_and_every_parameter_is_used(runbook: Runbook) -> None:
    named = {name for text in _texts(runbook) for name in re.findall(r"\{([a-z0-9][a-z0-9_-]*)\}", text)}
    assert named - BUILT_IN == set(runbook.params)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Part):
        for name in type(value).model_fields:
            yield from _texts(getattr(value, name)) if name != "params" or not isinstance(value, Runbook) else ()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)


@every_runbook
def test_every_runbook_is_complete(runbook: Runbook) -> None:
    kinds = [type(step) for step in runbook.steps]
    assert runbook.trigger
    assert runbook.data_protection
    assert runbook.escalation
    assert 5 <= len(runbook.immediate or ()) <= 8
    assert {clock.id for clock in runbook.clocks} >= {"dsgvo-33", "dsgvo-33-2"}
    assert [step.action for step in runbook.steps if isinstance(step, HoldStep)] == ["set", "release"]
    assert BackupStep in kinds
    assert sum(step.marks == "service_restored" for step in runbook.steps) == 1
    asked = [step for step in runbook.steps if isinstance(step, DecideStep) and "personal_data" in step.ask]
    assert len(asked) == 1
    assert "breach.aware" in {one.event for one in asked[0].emit}
    assert all(step.planned for step in runbook.steps)


@every_runbook
def test_detection_answers_at_once(runbook: Runbook) -> None:
    assert runbook.detect
    assert all(probe.timeout.total_seconds() <= 5 for probe in runbook.detect.probes), [
        format_duration(probe.timeout) for probe in runbook.detect.probes
    ]


@every_runbook
def test_what_acts_on_a_host_names_it(runbook: Runbook) -> None:
    """Only drtool itself, and what it has restored, is looked at on the machine on which it runs."""
    for step in runbook.steps:
        if isinstance(step, ExecStep | ScriptStep | ServiceStep | EvidenceStep) and "host" in runbook.params:
            own = step.id in ("compare", "clean-up", "copies")
            assert (step.target is None) == own, step.id


@every_runbook
def test_nothing_is_destroyed_without_somebodys_word(runbook: Runbook) -> None:
    agreed: list[ApproveStep] = []
    for step in runbook.steps:
        if isinstance(step, ApproveStep):
            agreed.append(step)
        if step.effect == "destructive":
            assert any(_covers(one, step.when) for one in agreed), step.id
            assert step.undo, step.id


def _covers(approval: ApproveStep, when: Any) -> bool:
    return all(key in when and set(_several(when[key])) <= set(_several(value)) for key, value in approval.when.items())


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def test_every_role_and_contact_that_is_named_is_in_the_register(register: Register, concept: RestartConcept) -> None:
    known = {*register.roles, *register.contacts}
    named = {name for runbook in RUNBOOKS for name in _named(runbook)}
    named |= {*concept.roles, *concept.contacts, concept.owner, concept.return_to_normal.approval}
    named |= {system.owner for system in concept.systems.values()} | {one.role for one in concept.alarm_chain}
    assert named <= known
    assert all(role.deputy and role.deputy != role.person for role in register.roles.values())
    assert all(len(person.phones) >= 2 and person.out_of_band for person in register.people.values())


def _named(runbook: Runbook) -> Iterator[str]:
    yield from (runbook.owner, runbook.executor, *(one.to for one in runbook.escalation))
    for step in runbook.steps:
        if isinstance(step, ApproveStep):
            yield from (step.by, step.escalate_to or step.by)
        yield from getattr(step, "to", None) or () if step.kind == "notify" else ()


def test_what_is_not_known_is_marked_and_not_invented(register: Register, concept: RestartConcept) -> None:
    mark = "BITTE EINTRAGEN"
    assert mark in register.register_of
    assert all(mark in person.name for person in register.people.values())
    assert all(mark in " ".join(item.where) for item in concept.bootstrap)
    assert concept.exercises.last_full is None
