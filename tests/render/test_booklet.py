"""Runbooks and the restart concept on paper."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pypdf import PdfReader

from drtool.documents.loader import load_procedures, load_register
from drtool.documents.restart_concept import RestartConcept
from drtool.documents.runbook import Runbook
from drtool.errors import ProgramMissing
from drtool.flows.lay_out import lay_out_concept, lay_out_runbook
from drtool.render.booklet import concept_html, pdf, runbook_html
from tests.flows.recovery import write_site

PRINTED = date(2026, 11, 24)
HOSTILE = """<script>alert("1")</script>&'{{ 7*7 }}"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path)


def print_runbook(site: Path, locale: str = "de", name: str = "database") -> str:
    register, runbooks = load_register(site / "register.yaml"), runbooks_of(site)
    page = lay_out_runbook(runbooks[name], register, site="shop", runbooks=runbooks)
    return runbook_html(page, printed=PRINTED, locale=locale)


def print_concept(site: Path, locale: str = "de") -> str:
    documents = (procedure.document for procedure in load_procedures(site / "runbooks"))
    (concept,) = (document for document in documents if isinstance(document, RestartConcept))
    page = lay_out_concept(concept, load_register(site / "register.yaml"), site="shop", runbooks=runbooks_of(site))
    return concept_html(page, printed=PRINTED, locale=locale)


def runbooks_of(site: Path) -> dict[str, Runbook]:
    procedures = load_procedures(site / "runbooks")
    assert not [problem for procedure in procedures for problem in procedure.problems]
    return {one.id: one.document for one in procedures if isinstance(one.document, Runbook)}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


class Reader(HTMLParser):
    """The visible text, the headings and the attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.headings: list[int] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " "
        self.attributes += [(tag, name, value) for name, value in attrs]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def pages(html: str) -> list[str]:
    reader = PdfReader(io.BytesIO(pdf(html)))
    return [" ".join(page.extract_text().split()) for page in reader.pages]


def test_every_step_is_printed_in_order_with_its_number(site: Path) -> None:
    text = Reader(print_runbook(site)).words
    titles = ["1. Wartungsmodus an", "2. Aufbewahrung einfrieren", "3. Defekten Bestand sichern"]
    titles += ["4. Ursache einordnen", "5. Dienst neu aufsetzen", "6. Rücksicherung freigeben", "7. Zurückspielen"]
    titles += ["8. Einspielen", "9. Shop öffnen", "10. Kunden informieren", "11. Frische Sicherung"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "written",
    [
        "touch /var/www/shop/.maintenance",
        "ssh -o UserKnownHostsFile={site}/known_hosts root@192.0.2.10",
        "drtool hold set --repository main --reason 'Aufbewahrung einfrieren'",
        "tar -cf ________/datadir.tar /var/lib/mysql",
        "drtool runbook run service --param host=db1",
        "drtool restore shop-db --to /srv/restore",
        "sha256sum {site}/runbooks/load.sh",
        "{site}/runbooks/load.sh 12 careful true",
        "PASSWORD = root-pw ($ROOT_PW)",
        "rm -f /var/www/shop/.maintenance",
        "drtool backup shop-db",
        "Der Shop shop läuft wieder; awk braucht {print}",
        "Nur wenn Schritt 4 „Was war es?“ = hardware",
        "geplant 2 min",
        "fertig nach 1 h 49 min",
        "nc -vz db1 3306",
        "das Gegenteil von: antwortet",
        "Freigabe durch: management (Cora Clever, Anna Amsel)",
        "Den gesicherten Bestand zurücklegen",
        "ja",
        "breach.aware",
        "1 h Dienst läuft wieder Versicherung AG",
        "Wenn niemand antwortet, benachrichtigen: Versicherung AG",
        "Verfügbarkeit und Integrität sind betroffen",
    ],
)
def test_what_is_to_be_done_is_written_out(site: Path, written: str) -> None:
    assert written.replace("{site}", str(site)) in Reader(print_runbook(site)).words


def test_a_command_is_quoted_so_that_it_can_be_typed(site: Path) -> None:
    edit(site / "runbooks" / "database.yaml", "argv: [touch, ", 'argv: [touch, "it\'s $HOME; rm -rf /", ')
    assert """touch 'it'"'"'s $HOME; rm -rf /' /var/www/shop/.maintenance""" in Reader(print_runbook(site)).words


def test_a_value_that_nobody_knows_leaves_room_to_fill_it_in(site: Path) -> None:
    edit(site / "register.yaml", "  web-root: /var/www/shop\n", "")
    assert "touch ________/.maintenance" in Reader(print_runbook(site)).words


def test_a_service_is_driven_as_the_register_says(site: Path) -> None:
    own = "hosts:\n  db1: {services: {mariadb: {stop: [/opt/db, stop], start: [/opt/db, start]}}}\n"
    edit(site / "register.yaml", "hosts:\n  db1: {}\n", own)
    edit(site / "register.yaml", "values:\n", "values:\n  host: db1\n")
    text = Reader(print_runbook(site, name="service")).words
    assert "/opt/db stop" in text and "/opt/db start" in text and "systemctl restart" not in text


@pytest.mark.parametrize("show", [print_runbook, print_concept])
def test_a_hostile_text_is_only_text(site: Path, show: Callable[[Path], str]) -> None:
    for name in ("database", "restart"):
        path = site / "runbooks" / f"{name}.yaml"
        path.write_text(re.sub(r"(?m)^title: .*$", f"title: {HOSTILE!r}", path.read_text("utf-8")), "utf-8")
        path.write_text(path.read_text("utf-8").replace(r"\'", "''"), "utf-8")
    html = show(site)
    seen = Reader(html)
    assert "script" not in seen.tags
    assert "<script>alert" in seen.text


@pytest.mark.parametrize("show", [print_runbook, print_concept])
@pytest.mark.parametrize("locale", ["de", "en"])
def test_the_page_stands_alone_and_can_be_read_aloud(site: Path, show: Callable[..., str], locale: str) -> None:
    html = show(site, locale)
    seen = Reader(html)
    fetching = {"src", "href", "srcset", "data", "action", "poster"}
    assert not [one for one in seen.attributes if one[1] in fetching or (one[2] or "").startswith("http")]
    assert "url(" not in html and "@import" not in html
    assert ("html", "lang", locale) in seen.attributes
    assert seen.headings[0] == 1 and seen.headings.count(1) == 1
    assert all(deeper - higher <= 1 for higher, deeper in zip(seen.headings, seen.headings[1:], strict=False))
    assert seen.tags.count("th") == len([one for one in seen.attributes if one[0] == "th" and one[1] == "scope"])


def test_the_fixed_words_are_in_the_language_of_the_estate(site: Path) -> None:
    german, english = Reader(print_runbook(site, "de")).words, Reader(print_runbook(site, "en")).words
    for word, translated in (
        ("Sofortmaßnahmen", "Immediate measures"),
        ("Erkennen", "How to detect it"),
        ("Schritte", "Steps"),
        ("Prüfen", "Verify"),
        ("Rücknahme", "Take back"),
        ("Eskalation", "Escalation"),
        ("Datenschutz", "Data protection"),
        ("Kontakte", "Contacts"),
        ("Unterschrift", "Signature"),
    ):
        assert word in german and word not in english
        assert translated in english and translated not in german


def test_the_first_page_has_what_is_needed_at_once(site: Path) -> None:
    first = pages(print_runbook(site))[0]
    for text in (
        "Datenbank defekt oder nicht startbar",
        "Der Shop meldet einen Datenbankfehler",
        "Keine Reparatur am einzigen Bestand",
        "Anna Amsel",
        "+49 170 1001",
        "Threema AAAA1001",
        "Bert Buche",
        "Versicherung AG",
        "Art. 33 Meldung",
        "72 h",
        "RTO 2 h",
        "RPO 24 h",
        "MTPD 8 h",
        "01.09.2027",
    ):
        assert text in first


def test_every_page_says_which_document_it_is_and_when_it_was_printed(site: Path) -> None:
    digest = runbooks_of(site)["database"].digest[:12]
    printed = pages(print_runbook(site))
    for number, text in enumerate(printed, start=1):
        assert "database · Revision 3" in text and f"SHA-256 {digest}" in text
        assert "gedruckt am 24.11.2026" in text and f"Seite {number} / {len(printed)}" in text


def test_the_concept_has_its_order_and_all_that_stands_around_it(site: Path) -> None:
    text = Reader(print_concept(site)).words
    for written in (
        "Mehr als ein System länger als 30 min gestört",
        "Rettungspaket: Tresor · Laptop 2",
        "Bestellung per Telefon",
        "Katalog ohne Kasse",
        "host = db1",
        "Alles läuft wieder, wenn curl -si https://shop.example/health",
        "Art. 33 Meldung an die Aufsicht 72 h",
        "1 h 50 min",
        "management: Cora Clever / Anna Amsel",
        "Ersatzserver",
        "Notbetriebsdaten nachtragen",
        "Alle Proben seit 24 h grün",
        "Entwarnung",
        "verschlüsselter USB-Stick",
        "Aufsichtsbehörde",
        "12.05.2026",
    ):
        assert written in text
    assert text.index("net Netz") < text.index("db Datenbank") < text.index("shop Webshop")
    first = pages(print_concept(site))[0]
    assert "Anna Amsel" in first and "Rettungspaket" in first and "Wann dieses Konzept gilt" in first


def test_the_same_document_printed_on_the_same_day_has_the_same_bytes(site: Path) -> None:
    assert pdf(print_runbook(site)) == pdf(print_runbook(site))


def test_steps_after_the_recovery_come_under_a_heading_of_their_own(site: Path) -> None:
    edit(
        site / "runbooks" / "database.yaml",
        "title: Kunden informieren\n",
        "title: Kunden informieren\n    phase: aftercare\n",
    )
    assert "Nachbereitung" not in Reader(print_runbook(site)).words  # another step waits for it
    edit(
        site / "runbooks" / "database.yaml",
        "title: Frische Sicherung\n",
        "title: Frische Sicherung\n    phase: aftercare\n",
    )
    text = Reader(print_runbook(site)).words
    assert text.index("9. Shop öffnen") < text.index("Nachbereitung") < text.index("10. Kunden informieren")


def test_a_step_longer_than_a_page_leaves_no_heading_alone(site: Path) -> None:
    points = "".join(f"      - Punkt {number} prüfen\n" for number in range(70))
    long = f"  - id: long\n    title: Lange Liste\n    kind: manual\n    checklist:\n{points}    drill: run\n"
    edit(site / "runbooks" / "service.yaml", "steps:\n", f"steps:\n{long}")
    printed = pages(print_runbook(site, name="service"))
    (page,) = (text for text in printed if "Schritte" in text)
    assert "Punkt 3 prüfen" in page


def test_without_the_libraries_the_next_act_is_told(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ProgramMissing) as caught:
        pdf("<p>x</p>")
    assert "apt-get install libpango-1.0-0 libpangoft2-1.0-0" in caught.value.hint
    assert "drtool[report]" in caught.value.hint


def test_nothing_is_fetched_for_a_pdf(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2")
    (text,) = pages(f'<p>x</p><object data="file://{secret}"></object><img alt="i" src="file://{secret}">')
    assert "hunter2" not in text
    attached = pdf(f'<link rel="attachment" href="file://{secret}"><p>x</p>')
    assert not PdfReader(io.BytesIO(attached)).attachments
