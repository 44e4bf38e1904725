from __future__ import annotations

import os
from pathlib import Path

import pytest

from drtool.documents.secrecy import arguments_with_password, secret_file_complaint, url_holds_password


@pytest.mark.parametrize(
    ("argv", "positions"),
    [
        (["mysqldump", "--password=hunter2", "shop"], [1]),
        (["mysqldump", "-uroot", "-phunter2", "shop"], [2]),
        (["/usr/bin/mariadb-dump", "-phunter2"], [1]),
        (["sh", "-c", "exec mysqldump -phunter2 shop"], [2]),
        (["mongodump", "--password", "hunter2"], [1]),
        (["env", "PGPASSWORD=hunter2", "pg_dump"], [1]),
        (["env", "RESTIC_PASSWORD=hunter2", "AWS_SECRET_ACCESS_KEY=hunter2", "x"], [1, 2]),
        (["env", "MYSQL_PWD=hunter2", "mysqldump"], [1]),
        (["sh", "-c", "PGPASSWORD='hunter2' pg_dump"], [2]),
        (["psql", "postgresql://shop:hunter2@db/shop"], [1]),
        (["pg_dump", "host=db password=hunter2"], [1]),
        (["curl", "--oauth-token=hunter2", "https://example.net"], [1]),
    ],
)
def test_a_password_in_a_command_line_is_found(argv: list[str], positions: list[int]) -> None:
    assert list(arguments_with_password(argv)) == positions


@pytest.mark.parametrize(
    "argv",
    [
        ["mysqldump", "--defaults-extra-file=/etc/shop.cnf", "-p", "shop"],
        ["psql", "-p5432", "shop"],
        ["restic", "--password-file=/etc/p", "--password-command", "cat /etc/p"],
        ["env", "PGPASSFILE=/etc/p", "RESTIC_PASSWORD_FILE=/etc/p", "PWD=/tmp", "pg_dump"],
        ["sh", "-c", 'PGPASSWORD="$(cat /etc/p)" pg_dump'],
        ["curl", "https://user@example.net:8080/a:b"],
        ["tar", "-cf", "-", "/var/www"],
        [""],
    ],
)
def test_a_reference_to_a_password_is_not_taken_for_one(argv: list[str]) -> None:
    assert list(arguments_with_password(argv)) == []


@pytest.mark.parametrize(
    ("url", "holds"),
    [
        ("mailto://admin:hunter2@example.net", True),
        ("https://example.net/hook?token=hunter2", True),
        ("mailto://admin@example.net", False),
        ("https://example.net:8443/a@b", False),
    ],
)
def test_a_password_in_a_url_is_found(url: str, holds: bool) -> None:
    assert url_holds_password(url) is holds


def test_a_file_for_its_owner_only_keeps_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    assert secret_file_complaint(path, user=os.geteuid()) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_open_to_others_does_not_keep_a_secret(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "the secret"
    path.touch()
    path.chmod(mode)
    complaint = f"others than its owner can read the file; run: chmod 600 '{path}'"
    assert secret_file_complaint(path, user=os.geteuid()) == complaint


def test_a_file_of_another_user_does_not_keep_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    owner = os.geteuid() or 1234
    os.chown(path, owner, -1)
    complaint = f"the file belongs to another user; run: chown {owner + 1} {path}"
    assert secret_file_complaint(path, user=owner + 1) == complaint


def test_a_folder_does_not_keep_a_secret(tmp_path: Path) -> None:
    assert secret_file_complaint(tmp_path, user=os.geteuid()) == "not a regular file"


def test_a_path_too_long_is_a_complaint_and_no_crash(tmp_path: Path) -> None:
    complaint = secret_file_complaint(tmp_path / ("x" * 300), user=os.geteuid())
    assert complaint == "the file cannot be looked at: file name too long"
