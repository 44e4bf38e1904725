"""Each refusal by itself: the sound estate is broken in just one way, and one mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from drtool.documents.loader import check_document, load_estate
from drtool.errors import DocumentInvalid

LITERAL = "a literal password is refused"
IN_A_FILE = "keep it in a file that only its owner can read, and name that file"
OFFSITE = "s3: {endpoint: https://s3.example.net, bucket: acme, prefix: shop/main}"
SECOND = "second: {directory: %s}\n      offsite:"
ARGV = "argv: [pg_dump, shop]"


def _refused(name: str, old: str, new: str, problem: str) -> object:
    return pytest.param(old, new, problem, id=name)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        _refused(
            "another version",
            "version: 1",
            "version: 2",
            "1:10: version: must be 1, the only version that this drtool reads",
        ),
        _refused("a version that is true", "version: 1", "version: true", "1:10: version: must be a whole number"),
        _refused("no version", "version: 1\n", "", "1:1: document: missing key 'version'"),
        _refused(
            "a site in capitals",
            "site: shop",
            "site: Shop",
            "2:7: site: must be made of a-z, 0-9 and -, begin with a letter or a digit and have at most 63 characters",
        ),
        _refused("a site that is a number", "site: shop", "site: 12", "2:7: site: must be text; quote it"),
        _refused("an unknown language", "locale: de", "locale: fr", "3:9: locale: must be de or en"),
        _refused(
            "an unknown key near a known one",
            "retention: {last",
            "retentoin: {last",
            "19:5: datasets.files.retentoin: unknown key 'retentoin' (did you mean 'retention'?)",
        ),
        _refused(
            "an unknown key near none",
            "filename: shop.sql}",
            "filename: shop.sql, xyzzy: 1}",
            "22:58: datasets.dump.command.xyzzy: unknown key 'xyzzy'; known here: argv, filename, timeout",
        ),
        _refused(
            "a duplicate key",
            "rto: 2h",
            "rto: 2h\n    rto: 3h",
            "19:5: datasets.files.rto: duplicate key, first written on line 18",
        ),
        _refused(
            "a literal password",
            "{file: main.password}",
            "hunter2",
            f"6:15: repositories.main.password: {LITERAL}: put it in a file with mode 0600 and write {{file: PATH}}",
        ),
        _refused(
            "a password in braces",
            "{file: main.password}",
            "{hunter2}",
            "6:5: repositories.main.password: unknown key; known here: file, command, env, credential;"
            " never the secret itself",
        ),
        _refused(
            "two ways to a password",
            "{file: main.password}",
            "{file: main.password, env: PASSWORD}",
            "6:37: repositories.main.password.env: only one of these keys may be given: file, command, env, credential",
        ),
        _refused(
            "no way to a password",
            "{file: main.password}",
            "{}",
            "6:5: repositories.main.password: one of these keys is missing: file, command, env, credential",
        ),
        _refused(
            "a password command that prints its argument",
            "{file: main.password}",
            "{command: [/bin/echo, hunter2]}",
            f"6:25: repositories.main.password.command: {LITERAL}: this command prints what the document"
            " says; use {file: PATH}",
        ),
        _refused(
            "a password where a variable's name belongs",
            "{file: main.password}",
            "{env: hunter-2}",
            "6:21: repositories.main.password.env: must be the name of an environment variable",
        ),
        _refused(
            "a password file that is not there",
            "main.password",
            "hunter2",
            "6:22: repositories.main.password.file: no such file; create it with mode 0600",
        ),
        _refused(
            "a secret key beside the bucket",
            "prefix: shop/main}",
            "prefix: shop/main, aws_secret_access_key: hunter2}",
            "11:81: repositories.main.copies.offsite.s3.aws_secret_access_key: unknown key"
            f" 'aws_secret_access_key'; {LITERAL}: {IN_A_FILE}",
        ),
        _refused(
            "literal S3 keys",
            "{file: keys}",
            "hunter2",
            f"12:22: repositories.main.copies.offsite.credentials: {LITERAL}: write {{profile: NAME}} or"
            " {file: PATH}",
        ),
        _refused(
            "empty credentials",
            "{file: keys}",
            "{}",
            "12:9: repositories.main.copies.offsite.credentials: needs a profile, a file or both",
        ),
        _refused(
            "credentials for a directory",
            "directory: /srv/backup/main",
            "directory: /srv/backup/main\n        credentials: {profile: x}",
            "10:9: repositories.main.copies.disk.credentials: a directory needs no credentials; remove the key",
        ),
        _refused(
            "immutability of a directory",
            "directory: /srv/backup/main",
            "directory: /srv/backup/main\n        immutability: {days: 30, mode: compliance}",
            "10:9: repositories.main.copies.disk.immutability: a directory cannot be made immutable;"
            " only an S3 bucket with object lock can",
        ),
        _refused(
            "immutability for no time",
            "credentials: {file: keys}",
            "immutability: {days: 0, mode: compliance}",
            "12:30: repositories.main.copies.offsite.immutability.days: must be at least 1",
        ),
        _refused(
            "immutability of an unknown mode",
            "credentials: {file: keys}",
            "immutability: {days: 30, mode: strict}",
            "12:40: repositories.main.copies.offsite.immutability.mode: must be compliance or governance",
        ),
        _refused(
            "immutability without a mode",
            "credentials: {file: keys}",
            "immutability: {days: 30}",
            "12:9: repositories.main.copies.offsite.immutability: missing key 'mode'",
        ),
        _refused(
            "a password in a command's option",
            ARGV,
            "argv: [pg_dump, --password=hunter2]",
            f"22:31: datasets.dump.command.argv[1]: {LITERAL}: {IN_A_FILE}",
        ),
        _refused(
            "a password in a command's variable",
            ARGV,
            "argv: [env, PGPASSWORD=hunter2, pg_dump]",
            f"22:27: datasets.dump.command.argv[1]: {LITERAL}: {IN_A_FILE}",
        ),
        _refused(
            "a password in a command's URL",
            ARGV,
            "argv: [psql, 'postgresql://shop:hunter2@db/shop']",
            f"22:28: datasets.dump.command.argv[1]: {LITERAL}: {IN_A_FILE}",
        ),
        _refused(
            "a password in a notification's address",
            "admin@example.net",
            "admin:hunter2@example.net",
            f"26:10: notify[0]: {LITERAL}: {IN_A_FILE}",
        ),
        _refused(
            "a notification without a scheme",
            "mailto://admin@",
            "admin@",
            "26:10: notify[0]: must be an address with its scheme, such as mailto://…",
        ),
        _refused(
            "a password in the endpoint",
            "https://s3.example.net",
            "https://key:hunter2@s3.example.net",
            f"11:24: repositories.main.copies.offsite.s3.endpoint: {LITERAL}: {IN_A_FILE}",
        ),
        _refused(
            "plain http off loopback",
            "https://s3.example.net",
            "http://s3.example.net",
            "11:24: repositories.main.copies.offsite.s3.endpoint: must be https://; plain http:// is for"
            " loopback addresses only",
        ),
        _refused(
            "a host that only looks like loopback",
            "https://s3.example.net",
            "http://127.0.0.1.example.net",
            "11:24: repositories.main.copies.offsite.s3.endpoint: must be https://; plain http:// is for"
            " loopback addresses only",
        ),
        _refused(
            "an endpoint with a path",
            "https://s3.example.net",
            "https://s3.example.net/acme",
            "11:24: repositories.main.copies.offsite.s3.endpoint: must be a scheme, a host and a port only;"
            " bucket and prefix have their own keys",
        ),
        _refused(
            "an endpoint with a query",
            "https://s3.example.net",
            "https://s3.example.net?x=1",
            "11:24: repositories.main.copies.offsite.s3.endpoint: must be a scheme, a host and a port only;"
            " bucket and prefix have their own keys",
        ),
        _refused(
            "an endpoint without a scheme",
            "https://s3.example.net",
            "s3.example.net",
            "11:24: repositories.main.copies.offsite.s3.endpoint: must be an address such as https://s3.example.net",
        ),
        _refused(
            "an endpoint with an impossible port",
            "https://s3.example.net",
            "https://s3.example.net:99999",
            "11:24: repositories.main.copies.offsite.s3.endpoint: not an address; write https://HOST or"
            " https://HOST:PORT",
        ),
        _refused(
            "a prefix that climbs out",
            "prefix: shop/main",
            "prefix: shop/../main",
            "11:70: repositories.main.copies.offsite.s3.prefix: must be a plain key prefix such as shop/main",
        ),
        _refused(
            "a CA that is not there",
            "prefix: shop/main",
            "ca: ca.pem",
            "11:66: repositories.main.copies.offsite.s3.ca: no such file",
        ),
        _refused(
            "a copy without a place",
            "directory: /srv/backup/main",
            "provider: us",
            "8:7: repositories.main.copies.disk: one of these keys is missing: directory, s3",
        ),
        _refused(
            "a copy with two places",
            "directory: /srv/backup/main",
            "directory: /srv/backup/main\n        s3: {endpoint: https://s3.example.net, bucket: other}",
            "10:9: repositories.main.copies.disk.s3: only one of these keys may be given: directory, s3",
        ),
        _refused(
            "an unknown kind of medium",
            "{file: keys}",
            "{file: keys}\n        medium: {kind: floppy, id: x}",
            "13:24: repositories.main.copies.offsite.medium.kind: must be disk, object-store, tape or optical",
        ),
        _refused(
            "two copies in one directory",
            "offsite:",
            SECOND % "/srv/backup/../backup/main",
            "10:27: repositories.main.copies.second.directory: the same place as"
            " repositories.main.copies.disk; a copy needs its own",
        ),
        _refused(
            "a copy inside another",
            "offsite:",
            SECOND % "/srv/backup/main/data",
            "10:27: repositories.main.copies.second.directory: lies inside repositories.main.copies.disk;"
            " a copy needs its own place",
        ),
        _refused(
            "a copy around another",
            "offsite:",
            SECOND % "/srv/backup",
            "10:27: repositories.main.copies.second.directory: holds repositories.main.copies.disk inside;"
            " a copy needs its own place",
        ),
        _refused(
            "two copies in one bucket's place",
            "directory: /srv/backup/main",
            "s3: {endpoint: 'https://S3.example.net:443/', bucket: acme, prefix: /shop/main/}",
            "11:9: repositories.main.copies.offsite.s3: the same place as repositories.main.copies.disk;"
            " a copy needs its own",
        ),
        _refused(
            "a copy at the root of another's bucket",
            "directory: /srv/backup/main",
            "s3: {endpoint: https://s3.example.net, bucket: acme}",
            "11:9: repositories.main.copies.offsite.s3: lies inside repositories.main.copies.disk;"
            " a copy needs its own place",
        ),
        _refused(
            "a dataset inside a copy",
            "/var/www/shop",
            "/srv/backup/main/x",
            "16:21: datasets.files.files.paths[0]: lies inside the copy repositories.main.copies.disk",
        ),
        _refused(
            "a copy inside a dataset",
            "/var/www/shop",
            "/srv",
            "16:21: datasets.files.files.paths[0]: holds the copy repositories.main.copies.disk, which would"
            " back up itself; add '/srv/backup/main' to exclude, or move the copy",
        ),
        _refused(
            "a dataset of an unknown repository",
            "repository: main\n    files",
            "repository: mian\n    files",
            "15:17: datasets.files.repository: there is no repository 'mian' (did you mean 'main'?)",
        ),
        _refused(
            "a dataset's name in capitals",
            "  dump:",
            "  Dump:",
            "20:3: datasets.Dump: must be made of a-z, 0-9, - and _, and begin with a letter or a digit",
        ),
        _refused(
            "a dataset called estate",
            "  dump:",
            "  estate:",
            "20:3: datasets.estate: the name 'estate' is taken: under it the estate itself is stored",
        ),
        _refused(
            "a dataset without a source",
            "    command: {argv: [pg_dump, shop], filename: shop.sql}\n",
            "",
            "20:3: datasets.dump: one of these keys is missing: files, mariadb, postgresql, sqlite, command",
        ),
        _refused(
            "a dataset with two sources",
            "    command: {",
            "    sqlite: {path: shop.db}\n    command: {",
            "23:5: datasets.dump.command: only one of these keys may be given: "
            "files, mariadb, postgresql, sqlite, command",
        ),
        _refused(
            "a database without its option file",
            f"command: {{{ARGV}, filename: shop.sql}}",
            "mariadb: {database: shop}",
            "22:5: datasets.dump.mariadb: missing key 'defaults_file'",
        ),
        _refused(
            "a password where only a file's name belongs",
            f"command: {{{ARGV}, filename: shop.sql}}",
            "postgresql: {database: shop, password: hunter2}",
            "22:34: datasets.dump.postgresql.password: unknown key 'password'; a literal password is refused: "
            "keep it in a file that only its owner can read, and name that file",
        ),
        _refused("no objective", "    rto: 1h\n", "", "20:3: datasets.dump: missing key 'rto'"),
        _refused(
            "an objective without a unit",
            "rpo: 24h",
            "rpo: 24",
            "17:10: datasets.files.rpo: must be a duration with its unit, such as 15m, 24h or 90d",
        ),
        _refused(
            "an objective of nothing", "rto: 2h", "rto: 0h", "18:10: datasets.files.rto: must be longer than nothing"
        ),
        _refused(
            "an objective in an unknown unit",
            "rto: 2h",
            "rto: 2y",
            "18:10: datasets.files.rto: must be a number and a unit, such as 90s, 15m, 24h, 90d, 8w or 1d12h",
        ),
        _refused(
            "a negative retention",
            "daily: 14",
            "daily: -1",
            "19:33: datasets.files.retention.daily: must be at least 0",
        ),
        _refused(
            "a retention that keeps nothing",
            "{last: 3, daily: 14}",
            "{last: 0}",
            "19:5: datasets.files.retention: keeps nothing; give at least one number above 0, or leave retention out",
        ),
        _refused(
            "a yes that is text",
            'exclude: ["*.tmp"]',
            "one_file_system: yes",
            "16:54: datasets.files.files.one_file_system: must be true or false; yes, no, on and off are plain text",
        ),
        _refused("an empty list", "[/var/www/shop]", "[]", "16:20: datasets.files.files.paths: must not be empty"),
        _refused(
            "a path written twice",
            "[/var/www/shop]",
            "[/var/www/shop, /var/www/shop/]",
            "16:20: datasets.files.files.paths: holds the same entry twice",
        ),
        _refused(
            "text where a list belongs",
            "[/var/www/shop]",
            "/var/www/shop",
            "16:20: datasets.files.files.paths: must be a list",
        ),
        _refused(
            "a file name with a slash",
            "filename: shop.sql",
            "filename: a/shop.sql",
            "22:48: datasets.dump.command.filename: must be a plain file name without a slash",
        ),
        _refused(
            "a file name that is a folder's",
            "filename: shop.sql",
            "filename: '..'",
            "22:48: datasets.dump.command.filename: must be a plain file name without a slash",
        ),
        _refused(
            "the home of nobody",
            "/var/www/shop",
            "~no-such-user/x",
            "16:21: datasets.files.files.paths[0]: there is no such home folder to put for ~",
        ),
        _refused(
            "a key without a value",
            "locale: de",
            "locale:",
            "3:1: locale: has no value; give one or leave the key out",
        ),
    ],
)
def test_an_estate_is_refused_for(estate: Path, sound: str, old: str, new: str, problem: str) -> None:
    assert sound.count(old) == 1
    estate.write_text(sound.replace(old, new), encoding="utf-8")
    with pytest.raises(DocumentInvalid) as refused:
        load_estate(estate)
    assert refused.value.problems == (f"{estate}:{problem}",)
    assert "hunter2" not in problem


def test_a_repository_without_copies_is_refused(estate: Path) -> None:
    estate.write_text(
        "version: 1\nsite: shop\nrepositories:\n  main:\n    password: {env: X}\n    copies: {}\n"
        "datasets:\n  a: {repository: main, sqlite: {path: a.db}, rpo: 1d, rto: 1d}\n",
        encoding="utf-8",
    )
    assert check_document(estate) == (f"{estate}:6:5: repositories.main.copies: must not be empty",)


def test_a_password_file_that_others_can_read_is_refused(estate: Path) -> None:
    password = estate.parent / "main.password"
    password.chmod(0o640)
    assert check_document(estate) == (
        f"{estate}:6:22: repositories.main.password.file: others than its owner can read the file;"
        f" run: chmod 600 {password}",
    )


def test_a_credentials_file_that_others_can_read_is_refused(estate: Path) -> None:
    keys = estate.parent / "keys"
    keys.chmod(0o604)
    assert check_document(estate) == (
        f"{estate}:12:29: repositories.main.copies.offsite.credentials.file: others than its owner can read"
        f" the file; run: chmod 600 {keys}",
    )


def test_two_names_of_one_directory_are_one_place(estate: Path, sound: str) -> None:
    (estate.parent / "one").mkdir()
    (estate.parent / "two").symlink_to("one")
    text = sound.replace("directory: /srv/backup/main", "directory: one")
    estate.write_text(text.replace("offsite:", SECOND % "two"), encoding="utf-8")
    assert check_document(estate) == (
        f"{estate}:10:27: repositories.main.copies.second.directory: the same place as"
        " repositories.main.copies.disk; a copy needs its own",
    )


@pytest.mark.parametrize("pattern", ["/srv/backup/main", "/srv/backup", "main", "backup/main", "/srv/b*/main"])
def test_a_copy_inside_a_dataset_is_accepted_where_an_exclude_names_it(estate: Path, sound: str, pattern: str) -> None:
    text = sound.replace("/var/www/shop", "/srv").replace("*.tmp", pattern)
    estate.write_text(text, encoding="utf-8")
    assert check_document(estate) == ()


@pytest.mark.parametrize("pattern", ["*.tmp", "/srv/*/other", "!main", "srv", "/"])
def test_an_exclude_that_names_something_else_does_not_help(estate: Path, sound: str, pattern: str) -> None:
    text = sound.replace("/var/www/shop", "/srv").replace("*.tmp", pattern)
    estate.write_text(text, encoding="utf-8")
    assert len(check_document(estate)) == 1


def test_a_missing_policy_is_refused(estate: Path, sound: str) -> None:
    estate.write_text(sound.replace("two-copies", "three"), encoding="utf-8")
    missing = estate.parent / "policies" / "three.yaml"
    assert check_document(estate) == (f"{estate}:25:12: policies[0]: no such file: '{missing}'",)


def test_a_policy_of_the_same_name_as_another_is_refused(estate: Path, sound: str) -> None:
    first = estate.parent / "policies" / "two-copies.yaml"
    (estate.parent / "again.yaml").write_bytes(first.read_bytes())
    estate.write_text(sound.replace("two-copies.yaml]", "two-copies.yaml, again.yaml]"), encoding="utf-8")
    assert check_document(estate) == (f"{estate}:25:38: policies[1]: another policy has the name 'two-copies' already",)


def test_the_mistakes_of_a_policy_are_told_with_the_name_of_its_own_file(estate: Path) -> None:
    policy = estate.parent / "policies" / "two-copies.yaml"
    policy.write_text(policy.read_text().replace("min: 2", "min: 0"), encoding="utf-8")
    with pytest.raises(DocumentInvalid) as refused:
        load_estate(estate)
    assert refused.value.problems == (f"{policy}:8:10: rules[0].min: must be at least 1",)


def test_every_mistake_of_every_file_is_told_at_once(estate: Path, sound: str) -> None:
    breaks = {
        "version: 1": "version: 3",
        "locale: de": "local: de",
        "{file: main.password}": "hunter2",
        "https://s3": "http://s3",
        "/var/www/shop": "/srv/backup/main",
        "rpo: 24h": "rpo: soon",
        "repository: main\n    command": "repository: other\n    command",
    }
    for old, new in breaks.items():
        sound = sound.replace(old, new)
    estate.write_text(sound, encoding="utf-8")
    policy = estate.parent / "policies" / "two-copies.yaml"
    policy.write_text(policy.read_text().replace("type: encryption", "type: encrypted"), encoding="utf-8")
    with pytest.raises(DocumentInvalid) as refused:
        load_estate(estate)
    places = [problem.removeprefix(str(estate.parent)).split(": ")[0] for problem in refused.value.problems]
    assert places == [
        "/drtool.yaml:1:10",
        "/drtool.yaml:3:1",
        "/drtool.yaml:6:15",
        "/drtool.yaml:11:24",
        "/drtool.yaml:16:21",
        "/drtool.yaml:17:10",
        "/drtool.yaml:21:17",
        "/policies/two-copies.yaml:12:11",
    ]
    assert refused.value.message == "8 mistakes in the documents"


@pytest.mark.parametrize("place", ["{file: main.password}", "{file: keys}"])
@pytest.mark.parametrize(
    "written", ["hunter2", "hunter2:", "*hunter2", "!hunter2 x", "{hunter2}", "{{hunter2}}", "'hunter2", "[hunter2]"]
)
def test_a_password_in_the_place_of_its_reference_is_never_repeated(
    estate: Path, sound: str, place: str, written: str
) -> None:
    estate.write_text(sound.replace(place, written), encoding="utf-8")
    problems = check_document(estate)
    assert problems
    assert not any("hunter2" in problem for problem in problems)


@pytest.mark.parametrize(
    "place",
    [
        "shop\n",
        "de\n",
        "{file: main.password}",
        "main.password",
        "/srv/backup/main",
        "https://s3.example.net",
        "bucket: acme",
        "prefix: shop/main",
        "[pg_dump, shop]",
        "shop.sql",
        "24h",
        "last: 3",
        "/var/www/shop",
        '"mailto://admin@example.net"',
    ],
)
def test_no_value_that_is_refused_is_repeated(estate: Path, sound: str, place: str) -> None:
    value = '"\\0https://user:hunter2@example.net/?password=hunter2"'
    key, colon, _ = place.rpartition(": ") if not place.startswith("{") else ("", "", "")
    end = "\n" if place.endswith("\n") else ""
    estate.write_text(sound.replace(place, f"{key}{colon}{value}{end}", 1), encoding="utf-8")
    problems = check_document(estate)
    assert problems
    assert not any("hunter2" in problem for problem in problems)


def test_the_traceback_of_a_refusal_holds_no_secret(estate: Path, sound: str) -> None:
    estate.write_text(sound.replace("{file: main.password}", "hunter2"), encoding="utf-8")
    with pytest.raises(DocumentInvalid) as refused:
        load_estate(estate)
    chain = [refused.value, refused.value.__cause__, refused.value.__context__]
    assert not any("hunter2" in repr(error) for error in chain)
