"""What the README says is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from drtool.documents.loader import check_document, load_policy

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Every ``drtool`` command that stands at the beginning of a line of a code block."""
    found = []
    for _, block in BLOCKS:
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("drtool "):
                found.append(shlex.split(line, comments=True)[1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_in_the_readme_exists(words: list[str]) -> None:
    names = words[:2] if words[0] in ("copies", "schedule", "evidence", "hold", "runbook") else words[:1]
    help_text = subprocess.run(
        [Path(sys.prefix) / "bin" / "drtool", *names, "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", help_text), option


def test_the_estate_in_the_readme_is_valid(tmp_path: Path) -> None:
    (example,) = [block for language, block in BLOCKS if language == "yaml"]
    (tmp_path / "drtool.yaml").write_text(example)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "two-copies.yaml").write_text((ROOT / "policies" / "two-copies.yaml").read_text())
    for name in ("main.password", "s3.credentials", "crm.cnf", "admin.cnf", "wiki.pgpass"):
        (tmp_path / name).write_text("something")
        (tmp_path / name).chmod(0o600)
    assert check_document(tmp_path / "drtool.yaml") == ()


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_policy_is_valid_and_named_like_its_file(path: Path) -> None:
    assert load_policy(path).policy == path.stem


def test_no_registry_is_named_in_any_file_of_the_project() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    hosts = [
        ".".join(parts)
        for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("deb", "debian", "org"))
    ]
    texts = {name: (ROOT / name).read_text(errors="replace") for name in listed if (ROOT / name).is_file()}
    assert not [name for name, text in texts.items() if any(host in text for host in hosts)]


def test_the_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    from drtool import errors

    codes = {error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")}
    section = README.partition("## Exit codes")[2].partition("##")[0]
    said = {int(number) for number in re.findall(r"(?:^|· ?)\s*(\d+) ", section, re.MULTILINE)}
    assert codes <= said
