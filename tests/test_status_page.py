from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from drtool.core.media import Medium, bucket_medium
from drtool.core.model import (
    CopyState,
    CopyStatus,
    DatasetStatus,
    Facts,
    Finding,
    Holding,
    Snapshot,
    Status,
    UploadVerification,
    Verdict,
    Verified,
)
from drtool.errors import DrtoolError
from drtool.render.page import _WORDS, status_page, write_status_page

NOW = datetime(2026, 11, 23, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOSTILE = (
    "</td><script src=\"https://evil.example/x.js\">alert(1)</script><img src=x onerror='y'> & {{ 7 * 7 }} ü\u202e"
)
VOID = {"meta", "link", "br", "hr", "img", "input"}


def copy(name: str, state: CopyState = CopyState.HEALTHY, **more: object) -> CopyStatus:
    given: dict[str, object] = {
        "repository": "main",
        "location": f"/srv/{name}",
        "objects": 12894,
        "bytes": 218_400_000_000,
        "agrees": True,
        "medium": Medium(kind="disk", ids=("wwn:0xa",), devices=("sdb",), machine=True),
        "upload_verification": UploadVerification.LOCAL_HASH,
        "verified": Verified(level="L1", at=NOW - 52 * HOUR),
    }
    return CopyStatus(copy=name, state=state, **given | more)  # type: ignore[arg-type]


def holding(name: str, age: timedelta | None) -> Holding:
    if age is None:
        return Holding(copy=name, newest=None, age=None, fresh=False)
    newest = Snapshot(id="a", dataset="d", time=NOW - age, tree="t", run="r", paths=(), tags=(), files=1, bytes=1)
    return Holding(copy=name, newest=newest, age=age, fresh=age <= 24 * HOUR)


def dataset(name: str, *holdings: Holding) -> DatasetStatus:
    return DatasetStatus(dataset=name, repository="main", rpo=24 * HOUR, rto=HOUR, holdings=holdings, media=())


def finding(verdict: Verdict, subject: str, reason: str, hint: str = "") -> Finding:
    return Finding(
        policy="two-copies",
        rule="at-least-twice",
        clause="Art. 32(1) b",
        subject=subject,
        verdict=verdict,
        reason=reason,
        hint=hint,
    )


OFFSITE = copy(
    "offsite",
    CopyState.BEHIND,
    location="s3:https://s3.example.net/acme/shop",
    medium=bucket_medium(host="s3.example.net", bucket="acme", provider="example-cloud"),
    upload_verification=UploadVerification.SHA256,
    verified=None,
    agrees=False,
    reason="93 objects are still to be sent",
    hint="drtool backup",
)
VIOLATING = Status(
    site="web01",
    at=NOW,
    facts=Facts(
        site="web01",
        copies=(copy("disk"), OFFSITE, copy("usb", CopyState.ABSENT, reason="no marker")),
        datasets=(
            dataset("shop", holding("disk", 3 * HOUR + timedelta(minutes=12)), holding("offsite", 31 * HOUR)),
            dataset("mail", holding("disk", 6 * HOUR), holding("offsite", None), holding("usb", None)),
        ),
    ),
    findings=(
        finding(Verdict.PASS, "kept", "2 of 2 copies count: disk and offsite"),
        finding(Verdict.WARN, "warned", "nearly too old", "look"),
        finding(Verdict.UNKNOWN, "unseen", "could not be looked at", "`drtool copies list`"),
        finding(Verdict.FAIL, "shop", "1 of 2 copies counts", "mount it, then `drtool heal usb`"),
    ),
)
COMPLIANT = replace(
    VIOLATING,
    facts=replace(VIOLATING.facts, copies=(copy("disk"),)),
    findings=VIOLATING.findings[:1],
)
HOSTILE_STATUS = Status(
    site=HOSTILE,
    at=NOW,
    facts=Facts(
        site=HOSTILE,
        copies=(
            copy(
                HOSTILE,
                repository=HOSTILE,
                location=HOSTILE,
                reason=HOSTILE,
                hint=HOSTILE,
                medium=Medium(kind="disk", ids=(HOSTILE,), devices=(HOSTILE,), provider=HOSTILE, site=HOSTILE),
                verified=Verified(level=HOSTILE, at=NOW),
            ),
        ),
        datasets=(replace(dataset(HOSTILE, holding(HOSTILE, HOUR)), repository=HOSTILE),),
    ),
    findings=(finding(Verdict.FAIL, HOSTILE, HOSTILE, f"{HOSTILE}`{HOSTILE}`"),),
)
NOTHING = Status(site="new", at=NOW, facts=Facts(site="new"), findings=())
EVERY = pytest.mark.parametrize("status", [VIOLATING, COMPLIANT, HOSTILE_STATUS, NOTHING])


class Page(HTMLParser):
    """The page as a browser would take it apart; refuses tags that do not close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@EVERY
@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_page_is_well_formed_and_says_its_language(status: Status, locale: str) -> None:
    page = Page(status_page(status, locale=locale))
    assert page.all("html") == [{"lang": locale}]
    assert len(page.all("h1")) == len(page.all("main")) == 1


@EVERY
def test_the_page_needs_nothing_from_outside_and_runs_nothing(status: Status) -> None:
    page = Page(status_page(status))
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "img", "link", "iframe", "object", "base", "form", "a", "svg", "input"})
    names = {name for _, attrs in page.tags for name in attrs}
    assert names.isdisjoint({"src", "href", "srcset", "action", "data", "onerror", "onload", "onclick"})
    assert not re.search(r"url\(|@import|https?:", page.style)
    outside = [value for _, attrs in page.tags for value in attrs.values() if value and "//" in value]
    assert outside == []


@EVERY
def test_identifiers_are_unique_and_labels_lead_to_them(status: Status) -> None:
    page = Page(status_page(status))
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(identifiers)) == len(identifiers)
    assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= set(identifiers)


def test_every_table_has_a_caption_and_headings_with_a_scope() -> None:
    page = Page(status_page(VIOLATING))
    assert len(page.all("table")) == len(page.all("caption")) == 2
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.all("th"))


def test_hostile_names_stay_text() -> None:
    content = status_page(HOSTILE_STATUS)
    assert "<script" not in content
    assert "<img" not in content
    assert "{{ 7 * 7 }}" in content
    shape = [tag for tag, _ in Page(content).tags]
    assert shape == [tag for tag, _ in Page(status_page(_tamed(HOSTILE_STATUS))).tags]
    assert re.sub(r"\s+", " ", HOSTILE) in Page(content).text


def _tamed(status: Status) -> Status:
    (one,), (shop,), (found,) = status.facts.copies, status.facts.datasets, status.findings
    medium = Medium(kind="disk", ids=("x",), devices=("x",), provider="x", site="x")
    tame = replace(
        one,
        copy="x",
        repository="x",
        location="x",
        reason="x",
        hint="x",
        medium=medium,
        verified=Verified(level="x", at=NOW),
    )
    facts = Facts(
        site="x",
        copies=(tame,),
        datasets=(replace(shop, dataset="x", repository="x", holdings=(holding("x", HOUR),)),),
    )
    return Status(site="x", at=NOW, facts=facts, findings=(replace(found, subject="x", reason="x", hint="x`x`"),))


@pytest.mark.parametrize("locale", ["en", "de"])
def test_every_finding_is_told_with_its_reason_hint_and_clause(locale: str) -> None:
    text = Page(status_page(VIOLATING, locale=locale)).text
    for one in VIOLATING.findings:
        assert one.reason in text
        assert one.hint.replace("`", "") in text
        assert one.subject in text
        assert one.clause in text


def test_what_is_wrong_comes_first_worst_on_top_and_what_passes_is_not_there() -> None:
    text = Page(status_page(VIOLATING)).text
    attention = text[text.index("What needs attention") : text.index("Datasets")]
    told = [attention.index(words) for words in ("1 of 2 copies counts", "could not be looked at", "nearly too old")]
    assert told == sorted(told)
    assert "2 of 2 copies count" not in attention
    assert "What needs attention" not in Page(status_page(COMPLIANT)).text


def test_the_same_trouble_of_many_subjects_is_told_once() -> None:
    many = tuple(finding(Verdict.FAIL, f"kunde-{number}", "one disk for all", "mount it") for number in range(30))
    text = Page(status_page(replace(VIOLATING, findings=many))).text
    attention = text[text.index("What needs attention") : text.index("Age of the newest")]
    assert attention.count("one disk for all") == 1
    assert all(one.subject in attention for one in many)
    assert text.count("one disk for all") == 31


def test_commands_in_hints_are_set_as_commands() -> None:
    content = status_page(VIOLATING)
    assert "mount it, then <code>drtool heal usb</code>" in content
    assert "<code>drtool backup</code>" in content


@pytest.mark.parametrize(
    ("verdicts", "headline"),
    [
        ((Verdict.PASS,), "All rules are kept"),
        ((Verdict.PASS, Verdict.WARN), "All rules are kept, with warnings"),
        ((Verdict.PASS, Verdict.WARN, Verdict.UNKNOWN), "Not proven"),
        ((Verdict.UNKNOWN, Verdict.FAIL), "Rules are violated"),
        ((), "Not proven"),
    ],
)
def test_the_headline_is_the_worst_verdict_and_nothing_judged_is_nothing_proven(
    verdicts: tuple[Verdict, ...], headline: str
) -> None:
    findings = tuple(finding(verdict, f"s{number}", "r") for number, verdict in enumerate(verdicts))
    content = status_page(replace(VIOLATING, findings=findings))
    assert f"<strong>{headline}</strong>" in content


def test_the_matrix_shows_age_freshness_medium_and_verification_in_words() -> None:
    text = Page(status_page(VIOLATING)).text
    for words in ("3 h 12 min", "31 h", "fresh", "too old", "no snapshot", "not known", "RPO 24 h", "disk sdb"):
        assert words in text
    assert "L1 stored checksums, 2 d 4 h ago" in text
    assert "object store s3.example.net/acme · example-cloud" in text


def test_a_bar_is_as_long_as_the_age_and_never_longer_than_the_rpo() -> None:
    content = status_page(VIOLATING)
    assert re.findall(r'style="width: (\d+)%"', content) == ["13", "100", "25"]


def test_a_copy_that_could_not_be_asked_is_not_called_empty() -> None:
    unknown = replace(VIOLATING, facts=replace(VIOLATING.facts, copies=(copy("usb", CopyState.UNKNOWN),)))
    text = Page(status_page(unknown)).text
    assert "no snapshot" not in text
    assert "12\u202f894" not in status_page(unknown)


def test_the_copies_show_state_size_and_how_uploads_are_verified() -> None:
    page = status_page(VIOLATING)
    for words in ("behind", "absent", "12\u202f894 objects, 218.4 GB", "SHA-256 compared by the server", "no marker"):
        assert words in page


def test_german_is_german_and_marks_the_english_of_findings() -> None:
    content = status_page(VIOLATING, locale="de")
    for words in (
        "Regeln sind verletzt",
        "Datenbestände",
        "zu alt",
        "218,4 GB",
        "vor 2 d 4 h",
        'class="why" lang="en"',
    ):
        assert words in content
    assert "What needs" not in content
    assert _WORDS["de"].keys() == _WORDS["en"].keys()


def test_every_state_verdict_and_kind_has_words_in_both_languages() -> None:
    kinds = ("disk", "object-store", "tape", "optical", "memory", "network", "unknown")
    needed = (
        {f"state.{state}" for state in CopyState}
        | {f"upload.{way}" for way in UploadVerification}
        | {f"headline.{verdict}" for verdict in Verdict}
        | {f"medium.{kind}" for kind in kinds}
    )
    assert all(needed <= words.keys() for words in _WORDS.values())


def test_the_same_status_makes_the_same_page() -> None:
    assert status_page(VIOLATING) == status_page(VIOLATING)


def _palettes(style: str) -> Iterator[dict[str, str]]:
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in style.split("@media", 2)[:2])
    yield light
    yield light | dark


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_stand_out_from_what_is_behind_them_as_wcag_aa_asks() -> None:
    """Contrast as WCAG 2.2 defines it, at least 4.5 to 1."""
    palettes = list(_palettes(Page(status_page(VIOLATING)).style))
    assert palettes[0] != palettes[1]
    for palette in palettes:
        tones = ("pass", "warn", "fail", "unknown")
        pairs = [(tone, behind) for tone in tones for behind in ("surface", "page", f"{tone}-soft")]
        pairs += [("ink", behind) for behind in ("surface", "page", "track", *(f"{tone}-soft" for tone in tones))]
        pairs += [("muted", "surface"), ("muted", "page")]
        for front, behind in pairs:
            light, dark = sorted((_luminance(palette[front]), _luminance(palette[behind])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, behind)


# The file


def test_the_file_is_readable_by_all_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "status.html"
    path.write_text("old")
    old_mask = os.umask(0o077)
    try:
        write_status_page(VIOLATING, path, locale="de")
    finally:
        os.umask(old_mask)
    assert path.read_text(encoding="utf-8") == status_page(VIOLATING, locale="de")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_no_unicode_is_shown_escaped(tmp_path: Path) -> None:
    path = tmp_path / "status.html"
    facts = replace(VIOLATING.facts, copies=(copy("disk", location=os.fsdecode(b"/srv/\xff")),))
    write_status_page(replace(VIOLATING, facts=facts), path)
    assert r"/srv/\udcff" in path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_put_in_place_leaves_no_part_and_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "status.html"
    folder.mkdir()
    with pytest.raises(DrtoolError, match=r"cannot write the status page .*status\.html") as caught:
        write_status_page(VIOLATING, folder)
    assert "--html" in caught.value.hint
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DrtoolError, match="No such file or directory"):
        write_status_page(VIOLATING, tmp_path / "missing" / "status.html")
