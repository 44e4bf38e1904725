"""What cron, sh and systemd make of the texts: read back by their own rules, and by sh itself."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtool.core import schedule
from drtool.core.schedule import JOBS, Setting, sandbox, schedule_files, schedule_paths, scheduled_time
from drtool.errors import UsageError

JOB = JOBS[0]
HOSTILE = "/srv/es tate 50% \"q\" 'x' $HOME `id` \\%\\\\n ;&|<>*?[!] \\"

# All that a file's path can hold, less what a cron table cannot.
WICKED = st.text(st.sampled_from("a %\\'\"$`;&|<>*?[]!#~=\t\r\x1b\x7fäß\udcff"), min_size=1, max_size=30).map(
    "/{}".format
)


def a_setting(config: str = "/etc/drtool/drtool.yaml", **changed: object) -> Setting:
    defaults = {"site": "shop", "program": "/opt/drtool/bin/drtool", "config": config}
    return Setting(**(defaults | changed))  # type: ignore[arg-type]


def cron_line(setting: Setting) -> str:
    """The one line of the table that is neither comment nor variable."""
    table = schedule.cron_table(setting)
    assert table.endswith("\n")
    lines = [line for line in table.removesuffix("\n").split("\n") if not re.match(r"#|[A-Z]+=", line)]
    assert len(lines) == len(JOBS)
    return lines[0]


def command_of_cron(line: str, *, halves_backslashes: bool) -> str:
    """What cron hands to sh: the fields cut off, then the loop of do_command.c in Vixie's cron and in cronie."""
    text = line.split(" ", 6)[6]
    taken, escaped = "", False
    for sign in text:
        taken += sign
        if escaped:
            if sign == "%" or (sign == "\\" and halves_backslashes):
                taken = taken[:-2] + sign
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == "%":
            raise AssertionError(f"cron ends the command at a bare %: {text}")
    return taken


def words_of_sh(command: str) -> list[str]:
    """The arguments that /bin/sh makes of a command line."""
    script = f'set -- {command}\nprintf "%s\\0" "$@"'.encode(errors="surrogateescape")
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, check=True)
    assert not done.stderr
    return [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")[:-1]]


def words_of_systemd(text: str) -> list[str]:
    """The arguments that systemd makes of an ExecStart=, reading strictly what systemd.syntax(7) describes."""
    words, rest = [], text
    while rest:
        match = re.match(r'"((?:[^"\\]|\\.)*)"(?: (?=")|\Z)', rest)
        assert match, f"not a quoted word: {rest}"
        words.append("".join(_signs_of_systemd(match[1])))
        rest = rest[match.end() :]
    return words


def _signs_of_systemd(text: str) -> Iterator[str]:
    for match in re.finditer(r'\\x(..)|\\([\\"])|%(.)|([^\\%\x00-\x1f])|(.)', text, re.DOTALL):
        code, escaped, specifier, plain, odd = match.groups()
        assert odd is None, f"must be escaped: {odd!r}"
        assert specifier in (None, "%"), f"systemd puts something else for %{specifier}"
        yield chr(int(code, 16)) if code else escaped or specifier or plain


def exec_start(setting: Setting) -> str:
    found = re.findall(r"^ExecStart=(.*)$", schedule.service_unit(setting, JOB), re.MULTILINE)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("halves_backslashes", [True, False], ids=["vixie", "cronie"])
def test_every_argument_reaches_drtool_through_cron_and_sh_as_it_is(halves_backslashes: bool) -> None:
    setting = a_setting(HOSTILE, state=HOSTILE + "/state", program=HOSTILE + "/drtool")
    command = command_of_cron(cron_line(setting), halves_backslashes=halves_backslashes)
    assert words_of_sh(command) == list(setting.command(JOB))


@settings(max_examples=100, deadline=None)
@given(config=WICKED)
def test_no_path_changes_on_its_way_through_any_cron(config: str) -> None:
    setting = a_setting(config)
    for halves in (True, False):
        assert words_of_sh(command_of_cron(cron_line(setting), halves_backslashes=halves)) == list(setting.command(JOB))


def test_the_reader_of_cron_lines_sees_a_percent_sign_that_is_not_escaped() -> None:
    with pytest.raises(AssertionError, match="bare %"):
        command_of_cron("1 2 * * * root drtool 50%", halves_backslashes=True)


def test_the_cron_line_names_minute_hour_and_user() -> None:
    at = scheduled_time("shop", time(2))
    assert cron_line(a_setting(user="backup")).startswith(
        f"{at.minute} 2 * * * backup /opt/drtool/bin/drtool backup --q"
    )


def test_a_line_break_is_refused_for_cron_with_the_way_out() -> None:
    with pytest.raises(UsageError) as refused:
        schedule.cron_table(a_setting("/srv/a\nb"))
    assert "systemd" in refused.value.hint


@pytest.mark.parametrize(("length", "fits"), [(900, True), (1000, False)])
def test_a_command_longer_than_cron_takes_is_refused(length: int, fits: bool) -> None:
    setting = a_setting("/" + "x" * length)
    if fits:
        assert "x" * length in schedule.cron_table(setting)
    else:
        with pytest.raises(UsageError, match="longer"):
            schedule.cron_table(setting)


@pytest.mark.parametrize("config", [HOSTILE, "/srv/line\nbreak\ttab\x7f", "/srv/%h/%%/${A}/\\x41"])
def test_every_argument_reaches_drtool_through_systemd_as_it_is(config: str) -> None:
    setting = a_setting(config, state="/var/lib/50%")
    program, *arguments = words_of_systemd(exec_start(setting))
    assert [program, *arguments] == [":/opt/drtool/bin/drtool", *setting.command(JOB)[1:]]


@settings(deadline=None)
@given(config=WICKED.filter(lambda path: "\udcff" not in path))
def test_no_path_changes_on_its_way_through_systemd(config: str) -> None:
    assert words_of_systemd(exec_start(a_setting(config)))[1:] == list(a_setting(config).command(JOB)[1:])


@pytest.mark.parametrize(
    ("changed", "kind"),
    [({"config": "/srv/\udcff"}, "cron"), ({"program": '/opt/"/drtool'}, "cron"), ({"program": "/o\\/drtool"}, "cron")],
)
def test_what_systemd_cannot_hold_is_refused_with_the_way_out(changed: dict[str, str], kind: str) -> None:
    with pytest.raises(UsageError) as refused:
        schedule.service_unit(a_setting(**changed), JOB)
    assert f"--kind {kind}" in refused.value.hint


def test_the_timer_runs_nightly_and_makes_up_for_what_was_missed() -> None:
    timer = schedule.timer_unit(a_setting(start=time(3, 30)), JOB).splitlines()
    assert f"OnCalendar=*-*-* {scheduled_time('shop', time(3, 30)):%H:%M}:00" in timer
    assert {"Persistent=true", "RandomizedDelaySec=0", "WantedBy=timers.target"} <= set(timer)


def test_a_site_keeps_its_minute_for_ever() -> None:
    pinned = {"shop": 25, "forum": 18, "blog": 30}
    assert {site: scheduled_time(site, time(2)).minute for site in pinned} == pinned


def test_the_minutes_of_many_sites_are_spread_over_the_hour() -> None:
    minutes = Counter(scheduled_time(f"site-{number}", time(2)).minute for number in range(6000))
    assert len(minutes) == 60
    assert max(minutes.values()) < 2 * 6000 / 60


def test_the_hour_that_begins_before_midnight_goes_on_after_it() -> None:
    times = {scheduled_time(f"site-{number}", time(23, 30)) for number in range(1000)}
    assert all(at >= time(23, 30) or at < time(0, 30) for at in times)
    assert {at.hour for at in times} == {23, 0}


@pytest.mark.parametrize("kind", ["cron", "systemd"])
def test_every_file_begins_with_the_line_by_which_drtool_knows_it(kind: schedule.Kind) -> None:
    made = schedule_files(kind, a_setting())
    assert tuple(made) == schedule_paths(kind, "shop")
    assert all(schedule.is_ours(text.encode()) and "schedule remove" in text.splitlines()[0] for text in made.values())
    assert not schedule.is_ours(b"# my own\n" + next(iter(made.values())).encode())


def test_the_name_of_the_cron_file_is_one_that_cron_reads() -> None:
    (path,) = schedule_paths("cron", "0-" + "a" * 61)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", path.name)


@pytest.mark.parametrize(
    ("reads", "writes", "missing"),
    [
        ("/var/www/shop", "/srv/backup", set()),
        ("/", "/srv/backup", {"PrivateTmp=yes"}),
        ("/var/tmp/shop", "/srv/backup", {"PrivateTmp=yes"}),
        ("/tmpfiles", "/usrlocal", set()),
        ("/var/www", "/usr/local/backup", {"ProtectSystem=full"}),
        ("/etc", "/srv", set()),
        ("/var/www", "/tmp/copy", {"PrivateTmp=yes"}),
    ],
)
def test_the_sandbox_hides_and_locks_nothing_that_a_run_needs(reads: str, writes: str, missing: set[str]) -> None:
    everything = {"NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectSystem=full"}
    assert set(sandbox(reads=[reads], writes=[writes], own_programs=False)) == everything - missing


def test_programs_of_the_estate_run_without_a_sandbox() -> None:
    assert sandbox(reads=["/var/www"], writes=["/srv"], own_programs=True) == ()
