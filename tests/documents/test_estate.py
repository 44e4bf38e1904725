from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drtool.core.model import Immutability, LockMode
from drtool.documents.estate import CommandSource, FileSource, PostgreSQLSource, S3Place, SqliteSource
from drtool.documents.loader import check_document, find_estate, load_estate, load_policy
from drtool.errors import DocumentInvalid, UsageError

SPEC_EXAMPLE = """\
version: 1
site: shop                                   # names this installation in snapshots and evidence
locale: de                                   # language of reports: de | en

repositories:
  main:
    password: {file: main.password}          # or {command: [argv]}, {env: NAME}, {credential: NAME} (systemd)
    copies:                                  # in order: restic writes to the first that is healthy
      disk:
        directory: /srv/backup/main
      offsite:
        s3: {endpoint: https://s3.example.net, bucket: acme-backup, prefix: shop/main, region: eu-central-1}
        credentials: {profile: drtool}       # or {file: PATH}; default: the AWS chain
        provider: example-cloud              # resolved in the register
        keep_removed: 90d                    # how long this copy keeps what retention removed elsewhere

datasets:
  shop-files:
    repository: main
    files: {paths: [/var/www/shop, /etc/nginx], exclude: ["*.tmp"], one_file_system: true}
    rpo: 24h
    rto: 2h
    retention: {last: 3, daily: 14, weekly: 8, monthly: 12, yearly: 3}
  shop-db:
    repository: main
    sqlite: {path: shop.db}
    rpo: 24h
    rto: 1h
    retention: {daily: 14, weekly: 8, monthly: 12}

policies: [policies/two-copies.yaml]
runbooks: runbooks
register: register.yaml
notify: ["mailto://…"]
"""


@pytest.fixture
def example(estate: Path) -> Path:
    """The specification's own example, its database replaced by one that this version knows."""
    estate.write_text(SPEC_EXAMPLE, encoding="utf-8")
    return estate


def test_the_specifications_example_loads(example: Path) -> None:
    estate = load_estate(example)
    offsite = estate.repositories["main"].copies["offsite"]
    files = estate.datasets["shop-files"]
    assert estate.locale == "de"
    assert list(estate.repositories["main"].copies) == ["disk", "offsite"]
    assert offsite.s3 == S3Place(
        endpoint="https://s3.example.net", bucket="acme-backup", prefix="shop/main", region="eu-central-1"
    )
    assert (offsite.keep_removed, offsite.patience) == (timedelta(days=90), timedelta(minutes=2))
    assert (files.rpo, files.rto) == (timedelta(days=1), timedelta(hours=2))
    assert files.retention is not None
    assert (files.retention.last, files.retention.hourly, files.retention.within) == (3, 0, None)
    assert [policy.policy for policy in estate.policies_loaded] == ["two-copies"]


def test_a_bucket_may_be_declared_immutable(estate: Path, sound: str) -> None:
    declared = "credentials: {file: keys}\n        immutability: {days: 30, mode: compliance}"
    estate.write_text(sound.replace("credentials: {file: keys}", declared), encoding="utf-8")
    copies = load_estate(estate).repositories["main"].copies
    assert copies["offsite"].locks == Immutability(days=30, mode=LockMode.COMPLIANCE)
    assert copies["disk"].locks is None


def test_the_sound_estate_has_no_mistakes(estate: Path) -> None:
    assert check_document(estate) == ()


def test_every_path_is_absolute_and_relative_to_the_file(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = example.parent
    monkeypatch.chdir(folder.parent)
    estate = load_estate(Path(folder.name) / "drtool.yaml")
    assert estate.path == example
    assert estate.repositories["main"].password.file == folder / "main.password"
    assert estate.datasets["shop-db"].source == SqliteSource(path=folder / "shop.db")
    assert (estate.runbooks, estate.register_file) == (folder / "runbooks", folder / "register.yaml")
    assert estate.policies == (folder / "policies" / "two-copies.yaml",)


def test_a_tilde_is_the_home_of_who_runs_drtool(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    example.write_text(SPEC_EXAMPLE.replace("path: shop.db", "path: ~/shop.db"), encoding="utf-8")
    source = load_estate(example).datasets["shop-db"].source
    assert source == SqliteSource(path=tmp_path / "home" / "shop.db")


def test_a_dataset_has_one_source_of_its_kind(estate: Path) -> None:
    datasets = load_estate(estate).datasets
    assert datasets["files"].source == FileSource(paths=(Path("/var/www/shop"),), exclude=("*.tmp",))
    assert datasets["dump"].source == CommandSource(argv=("pg_dump", "shop"), filename="shop.sql")


def test_the_option_files_of_databases_are_secrets_and_never_stored_as_documents(estate: Path) -> None:
    folder = estate.parent
    for name in ("dump.cnf", "restore.cnf", "pgpass"):
        (folder / name).write_text("secret")
        (folder / name).chmod(0o600)
    objectives = "repository: main, rpo: 24h, rto: 1h"
    more = f"""
  shop-db: {{{objectives}, mariadb: {{database: shop, defaults_file: dump.cnf, restore_defaults_file: restore.cnf}}}}
  crm: {{{objectives}, postgresql: {{database: crm, host: /run/postgresql, user: drtool, passfile: pgpass}}}}
"""
    estate.write_text(estate.read_text().replace("\ndatasets:", f"\ndatasets:{more.rstrip()}"))
    found = load_estate(estate)
    assert {folder / name for name in ("dump.cnf", "restore.cnf", "pgpass")} <= found.secret_files()
    assert found.datasets["crm"].source == PostgreSQLSource(
        database="crm", host="/run/postgresql", user="drtool", passfile=folder / "pgpass"
    )
    (folder / "pgpass").chmod(0o644)
    assert "chmod 600" in check_document(estate)[0]
    with pytest.raises(DocumentInvalid):
        load_estate(estate)
    (folder / "pgpass").unlink()
    assert "crm.postgresql.passfile: no such file" in check_document(estate)[0]
    assert load_estate(estate).datasets["crm"], "the file may lie in what is to be restored by this very estate"


def test_a_copy_tells_its_place_in_one_line(estate: Path) -> None:
    copies = load_estate(estate).repositories["main"].copies
    assert [copy.location for copy in copies.values()] == [
        "/srv/backup/main",
        "s3:https://s3.example.net/acme/shop/main",
    ]


def test_the_models_cannot_be_changed(estate: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_estate(estate).site = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9000",
        "http://127.8.8.8",
        "http://localhost:9000",
        "http://[::1]:9000",
        "https://[2001:db8::1]",
    ],
)
def test_an_endpoint_on_loopback_may_be_plain_http(estate: Path, sound: str, endpoint: str) -> None:
    estate.write_text(sound.replace("https://s3.example.net", f'"{endpoint}"'), encoding="utf-8")
    place = load_estate(estate).repositories["main"].copies["offsite"].s3
    assert place is not None
    assert place.endpoint == endpoint


def test_a_medium_can_be_declared_for_a_copy_and_for_all_below_a_path(estate: Path, sound: str) -> None:
    text = sound.replace("{file: keys}", "{file: keys}\n        medium: {kind: object-store, id: b1, site: north}")
    text += "media:\n  /srv: {kind: disk, id: nas}\n  /srv/backup: {kind: tape, id: t1}\n"
    estate.write_text(text, encoding="utf-8")
    loaded = load_estate(estate)
    medium = loaded.repositories["main"].copies["offsite"].medium
    assert medium is not None
    assert (medium.kind, medium.id, medium.site) == ("object-store", "b1", "north")
    declared = [loaded.declared_medium(Path(path)) for path in ("/srv/backup/main", "/srv/www", "/var")]
    assert [medium and medium.id for medium in declared] == ["t1", "nas", None]


def test_the_estates_documents_are_listed_without_its_secrets(example: Path) -> None:
    folder = example.parent
    (folder / "runbooks" / "web").mkdir(parents=True)
    for name in ("register.yaml", "runbooks/b.yaml", "runbooks/web/a.yaml", "runbooks/notes.txt"):
        (folder / name).touch()
    (folder / "main.password").rename(folder / "runbooks" / "secret.yaml")
    example.write_text(SPEC_EXAMPLE.replace("main.password", "runbooks/secret.yaml"), encoding="utf-8")
    assert load_estate(example).documents() == (
        example,
        folder / "policies" / "two-copies.yaml",
        folder / "register.yaml",
        folder / "runbooks" / "b.yaml",
        folder / "runbooks" / "web" / "a.yaml",
    )


def test_documents_that_are_not_there_are_not_listed(example: Path) -> None:
    folder = example.parent
    assert load_estate(example).documents() == (example, folder / "policies" / "two-copies.yaml")


def test_the_estate_asked_for_comes_first(estate: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.touch()
    assert find_estate(other, {"DRTOOL_CONFIG": str(estate)}) == other


def test_the_environments_estate_comes_before_the_folders(
    estate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.yaml"
    other.touch()
    assert find_estate(None, {"DRTOOL_CONFIG": str(other)}) == other


def test_the_folders_estate_is_found(estate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(estate.parent)
    assert find_estate(None, {}) == Path("drtool.yaml")


@pytest.mark.parametrize("environ", [{}, {"DRTOOL_CONFIG": "/nowhere/drtool.yaml"}])
def test_without_an_estate_the_next_act_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no estate file") as missing:
        find_estate(None, environ)
    assert missing.value.hint == "drtool init"


def test_an_estate_asked_for_and_missing_is_not_replaced_by_another(
    estate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(estate.parent)
    with pytest.raises(UsageError):
        find_estate(Path("missing.yaml"), {})


@pytest.mark.parametrize(("name", "reason"), [("missing.yaml", "no such file or directory"), (".", "is a directory")])
def test_a_file_that_cannot_be_read_is_a_problem_like_others(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    with pytest.raises(DocumentInvalid) as refused:
        load_estate(path)
    assert refused.value.problems == (f"{path}:1:1: document: the file cannot be read: {reason}",)


def _values() -> st.SearchStrategy[str]:
    words = ["main", "{file: x}", "[a]", "[]", "{}", "~", "~x/y", "0", "1h", "'\\0'", "http://[", "a\tb", "- x"]
    return st.sampled_from(words) | st.text(max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | st.text().map(str.encode))
def test_any_bytes_load_or_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    for load in (load_estate, load_policy):
        with pytest.raises(DocumentInvalid) as refused:
            load(path)
        assert refused.value.problems
    check_document(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    lines=st.lists(st.tuples(st.integers(0, 24), _values()), min_size=1, max_size=4),
)
def test_any_change_to_an_estate_loads_or_is_refused(
    estate: Path, sound: str, data: st.DataObject, lines: list[tuple[int, str]]
) -> None:
    text = sound.splitlines()
    for number, value in lines:
        head = text[number][: data.draw(st.integers(0, len(text[number])))]
        text[number] = head + value
    estate.write_bytes("\n".join(text).encode())
    try:
        load_estate(estate)
    except DocumentInvalid as refused:
        assert all(problem.startswith(f"{estate}") or "/policies/" in problem for problem in refused.problems)


def test_the_models_load_nothing_heavy() -> None:
    script = "import drtool.documents.loader, sys; print([m for m in sys.modules if m in %r])"
    heavy = ["boto3", "click", "rich", "jinja2", "asyncio", "subprocess", "sqlite3"]
    ran = subprocess.run([sys.executable, "-c", script % heavy], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
