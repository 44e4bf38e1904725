"""The house rules that no other tool checks."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "drtool").rglob("*.py"))
VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "manager", "misc"}
HEAVY = ("boto3", "botocore", "jinja2", "rich", "pydantic", "yaml", "sqlite3", "tenacity")


def test_the_layers_import_only_downwards() -> None:
    ended = subprocess.run(
        [Path(sys.prefix) / "bin" / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout


def test_no_module_has_a_vague_name() -> None:
    assert not [path for path in MODULES if VAGUE & {path.stem, path.parent.name}]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_below_the_command_line_prints_or_exits(path: Path) -> None:
    if "cli" in path.parts:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    if path.stem not in ("producer", "dumper"):  # programs of their own
        assert not [call.lineno for call in calls if ast.unparse(call.func) in ("sys.exit", "exit", "os._exit")]


def test_asking_for_the_version_loads_nothing_heavy() -> None:
    program = f"import sys; from drtool.cli import group; print([name for name in {HEAVY!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_every_command_has_help_with_an_example() -> None:
    from drtool.cli import COMMANDS

    words = [[name] for name in COMMANDS if name not in ("copies", "schedule", "evidence", "hold")]
    words += [
        ["copies", "list"],
        ["copies", "init"],
        ["copies", "verify"],
        ["evidence", "show"],
        ["evidence", "verify"],
    ]
    words += [["hold", "set"], ["hold", "release"], ["hold", "list"]]
    words += [["schedule", name] for name in ("show", "install", "remove")]
    for command in words:
        shown = subprocess.run(
            [Path(sys.prefix) / "bin" / "drtool", *command, "--help"], capture_output=True, text=True, check=True
        )
        assert "Example: drtool" in shown.stdout, command
