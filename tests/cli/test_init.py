"""``drtool init`` as it is run: with options, and by a person at a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pytest

from drtool.documents.estate import Estate, FileSource, SqliteSource
from drtool.documents.loader import load_estate, load_procedures, load_register
from drtool.documents.restart_concept import RestartConcept

DRTOOL = Path(sys.prefix) / "bin" / "drtool"
SHIPPED = Path(__file__).parents[2] / "policies"
RUNBOOKS = SHIPPED.parent / "runbooks"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A web root and a database."""
    (tmp_path / "www" / "shop").mkdir(parents=True)
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("create table orders (number integer)")
    connection.close()
    return tmp_path


def init(
    folder: Path, *arguments: object, code: int = 0, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [DRTOOL, "init", "etc", *map(str, arguments)],
        cwd=folder,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


MINIMUM = ("--files", "www/shop", "--copy-directory", "copy")
EVERYTHING = (
    *(*MINIMUM, "--sqlite", "shop.db", "--second-directory", "second", "--site", "no", "--locale", "de"),
    *("--s3-endpoint", "https://s3.example.net", "--s3-bucket", "acme", "--s3-region", "eu", "--s3-profile", "drtool"),
    *("--s3-provider", "Example: GmbH & Co", "--rpo", "12h", "--rto", "90m"),
)


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_estate_loads_and_holds_what_was_asked_for(shop: Path) -> None:
    init(shop, *EVERYTHING)
    estate = load_estate(shop / "etc" / "drtool.yaml")
    assert (estate.site, estate.locale) == ("no", "de")
    assert _sources(estate) == {"shop-files": shop / "www" / "shop", "shop-db": shop / "shop.db"}
    copies = estate.repositories["main"].copies
    assert [copy.location for copy in copies.values()] == [
        str(shop / "copy"),
        str(shop / "second"),
        "s3:https://s3.example.net/acme/no/main",
    ]
    assert copies["offsite"].provider == "Example: GmbH & Co"
    assert {(one.rpo.total_seconds(), one.rto.total_seconds()) for one in estate.datasets.values()} == {(43200, 5400)}
    assert all(one.retention and one.retention.daily for one in estate.datasets.values())
    assert "two-copies" in [policy.policy for policy in estate.policies_loaded]


def _sources(estate: Estate) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, dataset in estate.datasets.items():
        source = dataset.source
        assert isinstance(source, FileSource | SqliteSource)
        found[name] = source.path if isinstance(source, SqliteSource) else source.paths[0]
    return found


def test_every_block_of_the_text_has_a_comment(shop: Path) -> None:
    init(shop, *EVERYTHING)
    blocks = (shop / "etc" / "drtool.yaml").read_text().split("\n\n")
    assert len(blocks) == 5
    assert all(block.startswith("# ") for block in blocks)


def test_only_the_owner_reads_the_password_and_nobody_sees_it(shop: Path) -> None:
    done = init(shop, *EVERYTHING)
    password = shop / "etc" / "main.password"
    secret = password.read_text().strip()
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.parent.stat().st_mode & 0o777 == 0o700
    assert re.fullmatch(r"[A-Za-z0-9_-]{32,}", secret)
    assert secret not in done.stdout + done.stderr
    assert str(password) in done.stdout


def test_each_password_is_another_one(shop: Path, tmp_path: Path) -> None:
    init(shop, *MINIMUM)
    first = (shop / "etc" / "main.password").read_text()
    (shop / "etc").rename(shop / "old")
    init(shop, *MINIMUM)
    assert (shop / "etc" / "main.password").read_text() != first


def test_a_second_time_is_refused_and_leaves_all_as_it_was(shop: Path) -> None:
    init(shop, *MINIMUM)
    before = {path: path.read_bytes() for path in (shop / "etc").rglob("*") if path.is_file()}
    refused = init(shop, *EVERYTHING, code=1)
    assert "is there already" in refused.stderr
    assert "hint: " in refused.stderr
    assert {path: path.read_bytes() for path in (shop / "etc").rglob("*") if path.is_file()} == before


def test_a_password_without_an_estate_is_not_overwritten(shop: Path) -> None:
    (shop / "etc").mkdir()
    (shop / "etc" / "main.password").write_text("precious")
    assert "main.password is there already" in init(shop, *MINIMUM, code=1).stderr
    assert everything_below(shop / "etc") == {"main.password"}
    assert (shop / "etc" / "main.password").read_text() == "precious"


def test_a_policy_that_somebody_changed_is_not_overwritten(shop: Path) -> None:
    policy = shop / "etc" / "policies" / "two-copies.yaml"
    policy.parent.mkdir(parents=True)
    policy.write_text("mine")
    assert "two-copies.yaml is there already" in init(shop, *MINIMUM, code=1).stderr
    assert everything_below(shop / "etc") == {"policies", "policies/two-copies.yaml"}
    assert policy.read_text() == "mine"


def test_the_shipped_policies_are_copied_word_for_word(shop: Path) -> None:
    done = json.loads(init(shop, *MINIMUM, "--json").stdout)
    folder = shop / "etc" / "policies"
    assert done == {
        "estate": str(shop / "etc" / "drtool.yaml"),
        "password_file": str(shop / "etc" / "main.password"),
        "policies": [str(folder / path.name) for path in sorted(SHIPPED.glob("*.yaml"))],
        "runbooks": str(shop / "etc" / "runbooks"),
        "register": str(shop / "etc" / "register.yaml"),
    }
    assert all((folder / path.name).read_bytes() == path.read_bytes() for path in SHIPPED.glob("*.yaml"))


def validate(folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    line = [DRTOOL, "validate", "--config", folder / "etc" / "drtool.yaml"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_the_runbooks_come_with_their_scripts_and_know_the_estates_names(shop: Path) -> None:
    init(shop, *EVERYTHING)
    estate = load_estate(shop / "etc" / "drtool.yaml")
    assert estate.runbooks == shop / "etc" / "runbooks"
    assert everything_below(estate.runbooks) == everything_below(RUNBOOKS)
    for script in (estate.runbooks / "scripts").iterdir():
        assert script.read_bytes() == (RUNBOOKS / "scripts" / script.name).read_bytes()
        assert script.stat().st_mode & 0o777 == 0o755
    procedures = {one.id: one for one in load_procedures(estate.runbooks)}
    assert [problem for one in procedures.values() for problem in one.problems] == []
    concept = procedures["restart-concept"].document
    assert isinstance(concept, RestartConcept)
    carried = [name for system in concept.systems.values() for name in system.datasets]
    assert sorted(carried) == ["shop-db", "shop-files"]
    assert concept.systems["backup"].params["copy"] in estate.repositories["main"].copies
    assert date.today() < concept.review_due <= date.today() + timedelta(days=365)
    assert {item.checked for item in concept.bootstrap} == {date.today()}
    assert set(estate.documents()) >= set(estate.runbooks.rglob("*.sh")), "they are stored with every backup"


def test_the_register_knows_what_was_answered_and_marks_the_rest(shop: Path) -> None:
    init(shop, *EVERYTHING)
    estate = load_estate(shop / "etc" / "drtool.yaml")
    assert estate.register_file == shop / "etc" / "register.yaml"
    values = load_register(estate.register_file).values
    assert (values["files_dataset"], values["db_dataset"]) == ("shop-files", "shop-db")
    assert values["web_root"] == str(shop / "www" / "shop")
    assert values["estate"] == str(shop / "etc" / "drtool.yaml")
    assert Path(values["drtool"]).samefile(DRTOOL)
    assert "BITTE EINTRAGEN" in (shop / "etc" / "register.yaml").read_text()


def test_without_a_database_the_register_says_that_one_is_missing(shop: Path) -> None:
    init(shop, *MINIMUM)
    text = (shop / "etc" / "register.yaml").read_text()
    assert "db_dataset: shop-files # BITTE EINTRAGEN" in text
    assert "no mistakes" in validate(shop).stdout


def test_validate_looks_at_the_register_and_every_runbook_but_a_broken_one_keeps_no_estate_from_loading(
    shop: Path,
) -> None:
    init(shop, *MINIMUM)
    (shop / "etc" / "runbooks" / "nwb-03-disk-full.yaml").write_text("version: 1\nrunbook: x\n")
    register = shop / "etc" / "register.yaml"
    register.write_text(register.read_text().replace("deputy: vertretung", "deputy: nobody"))
    told = validate(shop, code=20).stderr
    assert "nwb-03-disk-full.yaml:1:1" in told
    assert "there is no person 'nobody' in this register" in told
    load_estate(shop / "etc" / "drtool.yaml")
    register.unlink()
    assert "no such file" in validate(shop, code=20).stderr


def test_a_runbook_that_somebody_changed_is_not_overwritten(shop: Path) -> None:
    runbook = shop / "etc" / "runbooks" / "nwb-01-service-down.yaml"
    runbook.parent.mkdir(parents=True)
    runbook.write_text("mine")
    assert "nwb-01-service-down.yaml is there already" in init(shop, *MINIMUM, code=1).stderr
    assert everything_below(shop / "etc") == {"runbooks", "runbooks/nwb-01-service-down.yaml"}
    assert runbook.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--copy-directory", "copy"), "--files"),
        (("--files", "www"), "--copy-directory"),
        ((*MINIMUM, "--s3-bucket", "acme"), "--s3-endpoint"),
        ((*MINIMUM, "--s3-endpoint", "https://s3.example.net"), "--s3-bucket"),
        ((*MINIMUM, "--rpo", "soon"), "--rpo"),
        ((*MINIMUM, "--files", "nowhere"), "--files"),
    ],
)
def test_without_a_terminal_what_lacks_is_named_by_its_option(
    shop: Path, arguments: Sequence[str], option: str
) -> None:
    assert option in init(shop, *arguments, code=2).stderr
    assert not (shop / "etc").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--s3-endpoint", "http://s3.example.net", "--s3-bucket", "acme"), "must be https://"),
        (("--site", "My Shop"), "must be made of"),
        (("--second-directory", "copy/inner"), "lies inside"),
        (("--s3-endpoint", "https://a", "--s3-bucket", "acme", "--s3-credentials", "readable"), "chmod 600"),
    ],
)
def test_of_an_estate_that_is_not_valid_nothing_is_left(shop: Path, arguments: Sequence[str], reason: str) -> None:
    (shop / "readable").write_text("[default]")
    (shop / "readable").chmod(0o644)
    before = everything_below(shop)
    refused = init(shop, *MINIMUM, *arguments, code=20)
    assert reason in refused.stderr
    assert "drtool-init-" not in refused.stderr
    assert everything_below(shop) == before


def test_names_of_datasets_come_from_their_paths_and_are_unique(shop: Path) -> None:
    odd = ["a/Größe & Co", "b/größe-co", "c/shop-files", "d/***", "e/" + "x" * 200]
    for name in odd:
        (shop / name).mkdir(parents=True)
    files = [argument for name in odd for argument in ("--files", name)]
    init(shop, *MINIMUM, *files, "--sqlite", "shop.db")
    assert list(_sources(load_estate(shop / "etc" / "drtool.yaml"))) == [
        *("shop-files", "grosse-co-files", "grosse-co-2-files", "shop-2-files", "all-files"),
        *(f"{'x' * 63}-files", "shop-db"),
    ]


@pytest.mark.parametrize("name", ["50% \"q\" 'x': #\\", "line\nbreak", "~", "- [a]", "0x1F", "ünïcode\u00a0😀\u2028"])
def test_any_path_survives_the_text(shop: Path, name: str) -> None:
    (shop / "odd" / name).mkdir(parents=True)
    init(shop, "--files", shop / "odd" / name, "--copy-directory", shop / "copies" / name)
    estate = load_estate(shop / "etc" / "drtool.yaml")
    assert list(_sources(estate).values()) == [shop / "odd" / name]
    assert estate.repositories["main"].copies["disk"].directory == shop / "copies" / name


def test_a_path_that_no_document_can_hold_is_refused(shop: Path) -> None:
    os.mkdir(os.fsencode(shop) + b"/\xff")
    refused = init(shop, "--files", os.fsdecode(b"\xff"), "--copy-directory", "copy", code=2)
    assert "UTF-8" in refused.stderr
    assert not (shop / "etc").exists()


def test_a_copy_inside_the_data_is_left_out_of_them(shop: Path) -> None:
    init(shop, "--files", "www", "--copy-directory", "www/[copy]*")
    source = load_estate(shop / "etc" / "drtool.yaml").datasets["www-files"].source
    assert isinstance(source, FileSource)
    assert source.exclude == (f"{shop}/www/[[]copy][*]",)


@pytest.mark.parametrize(("language", "locale"), [("de_AT.UTF-8", "de"), ("C.UTF-8", "en"), ("en_GB.UTF-8", "en")])
def test_the_language_is_that_of_the_environment(shop: Path, language: str, locale: str) -> None:
    init(shop, *MINIMUM, env={"LANG": language})
    assert load_estate(shop / "etc" / "drtool.yaml").locale == locale


def test_one_copy_alone_is_called_too_few(shop: Path) -> None:
    assert "only one copy" in init(shop, *MINIMUM).stdout


def test_the_next_commands_name_the_estate_only_where_they_must(shop: Path) -> None:
    assert f"drtool backup --config {shop}/etc/drtool.yaml" in init(shop, *MINIMUM).stdout
    (shop / "etc").rename(shop / "old")
    known = {"DRTOOL_CONFIG": str(shop / "etc" / "drtool.yaml")}
    assert "drtool backup\n" in init(shop, *MINIMUM, env=known).stdout


def test_where_nothing_can_be_written_nothing_appears(shop: Path) -> None:
    (shop / "etc").mkdir()
    (shop / "etc").chmod(0o555)
    held = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
    line = [*held, str(DRTOOL), "init", "etc", *MINIMUM]
    refused = subprocess.run(line, cwd=shop, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert refused.returncode == 1
    assert "permission denied" in refused.stderr
    assert everything_below(shop / "etc") == set()


class Terminal:
    """A person at a terminal: waits for a question, types an answer."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execv(DRTOOL, [str(DRTOOL), "init", "etc", *arguments])  # noqa: S606 - no shell is wanted
        self.seen = ""
        self._read = 0

    def answer(self, question: str, text: str) -> None:
        """Type a line once the question is on the screen, after what was there before."""
        end = time.monotonic() + 30
        while question not in self.seen[self._read :]:
            assert time.monotonic() < end, f"{question!r} was not asked: {self.seen}"
            self._look()
        self._read = len(self.seen)
        os.write(self._screen, f"{text}\n".encode())

    def end(self) -> int:
        """Watch to the end; the exit code."""
        while self._look():
            pass
        os.close(self._screen)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _look(self) -> bool:
        assert select.select([self._screen], [], [], 30)[0], f"nothing more came: {self.seen}"
        try:
            new = os.read(self._screen, 4096)
        except OSError:  # Linux tells so that nobody has the terminal open any more
            return False
        self.seen += new.decode(errors="replace")
        return bool(new)


def test_at_a_terminal_all_that_is_not_given_is_asked(shop: Path) -> None:
    person = Terminal(shop)
    person.answer("Name of this site", "My Shop")
    person.answer("Name of this site", "shop")
    person.answer("Back up", "nowhere")
    person.answer("Back up", "www/shop")
    person.answer("Back up", "shop.db")
    person.answer("Back up", "")
    person.answer("local copy", "copy")
    person.answer("second copy", "s3")
    person.answer("S3 server", "https://s3.example.net")
    person.answer("Bucket", "acme")
    person.answer("Where in the bucket", "")
    person.answer("Region", "")
    person.answer("Who runs", "")
    person.answer("How to enter", "keys")
    person.answer("Access key", "AKIAEXAMPLE")
    person.answer("Secret key", "very-secret/key")
    assert person.end() == 0, person.seen
    estate = load_estate(shop / "etc" / "drtool.yaml")
    assert (estate.site, _sources(estate)) == ("shop", {"shop-files": shop / "www/shop", "shop-db": shop / "shop.db"})
    assert [copy.location for copy in estate.repositories["main"].copies.values()] == [
        str(shop / "copy"),
        "s3:https://s3.example.net/acme/shop/main",
    ]
    keys = shop / "etc" / "offsite.credentials"
    assert keys.stat().st_mode & 0o777 == 0o600
    assert "aws_secret_access_key = very-secret/key\n" in keys.read_text()
    assert "very-secret" not in person.seen
    assert estate.secret_files() == {keys, shop / "etc" / "main.password"}


def test_at_a_terminal_what_is_given_is_not_asked(shop: Path) -> None:
    person = Terminal(shop, *MINIMUM, "--site", "shop")
    person.answer("second copy", "directory")
    person.answer("second copy shall lie", "second")
    assert person.end() == 0, person.seen
    assert list(load_estate(shop / "etc" / "drtool.yaml").repositories["main"].copies) == ["disk", "second"]
    assert "Name of this site" not in person.seen


def test_leaving_in_the_middle_leaves_nothing_behind(shop: Path) -> None:
    before = everything_below(shop)
    person = Terminal(shop, "--site", "shop")
    person.answer("Back up", "\x03")
    assert person.end() == 130, person.seen
    assert everything_below(shop) == before
