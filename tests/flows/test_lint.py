"""Lint: a sound site has no problem; each kind of defect is found, where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from drtool.core.problem import Problem, Severity
from drtool.documents.loader import load_estate, load_procedures, load_register
from drtool.flows.lint import has_errors, lint
from tests.flows.recovery import write_site

TODAY = date(2026, 11, 24)
WARNING = Severity.WARNING


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path)


def problems(site: Path) -> tuple[Problem, ...]:
    register, estate = load_register(site / "register.yaml"), load_estate(site / "drtool.yaml")
    return lint(load_procedures(site / "runbooks"), register, estate, TODAY)


@dataclass(frozen=True)
class Defect:
    """An edit of one file, and what is to be said of which line of a procedure."""

    name: str
    file: str
    old: str
    new: str
    says: str
    at: str  # the line that begins so (its indentation does not matter), else the first that holds it
    severity: Severity = Severity.ERROR
    told_of: str = ""  # where another file than the one edited shows it

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def of_runbook(name: str, old: str, new: str, says: str, at: str, severity: Severity = Severity.ERROR) -> Defect:
    return Defect(name, "runbooks/database.yaml", old, new, says, at, severity)


def of_concept(name: str, old: str, new: str, says: str, at: str, severity: Severity = Severity.ERROR) -> Defect:
    return Defect(name, "runbooks/restart.yaml", old, new, says, at, severity)


def of_register(name: str, old: str, new: str, says: str, at: str, severity: Severity = Severity.ERROR) -> Defect:
    return Defect(name, "register.yaml", old, new, says, at, severity, told_of="runbooks/restart.yaml")


RUNBOOK = [
    of_runbook(
        "unknown need",
        "needs: [stop-writes]",
        "needs: [stop-write]",
        "there is no step 'stop-write' in this runbook (did you mean 'stop-writes'?)",
        "needs: [stop-write]",
    ),
    of_runbook(
        "cycle of steps",
        "    phase: immediate\n",
        "    phase: immediate\n    needs: [approve]\n",
        "steps wait for one another: stop-writes -> approve -> rebuild -> cause -> save-defect -> stop-writes",
        "needs: [approve]",
    ),
    of_runbook(
        "condition nobody asks",
        "when: {cause: hardware}",
        "when: {reason: hardware}",
        "no step asks for 'reason'",
        "when: {reason",
    ),
    of_runbook(
        "condition not asked before",
        "    needs: [stop-writes]\n",
        "    needs: [stop-writes]\n    when: {affected: true}\n",
        "'affected' is not answered before this step; add 'cause' to its 'needs'",
        "when: {affected: true}\n",
    ),
    of_runbook(
        "condition on an impossible answer",
        "when: {cause: hardware}",
        "when: {cause: [hardware, fire]}",
        "'fire' is never the answer to 'cause'; possible: hardware, crash, attack",
        "when: {cause: [",
    ),
    of_runbook(
        "condition of the wrong type",
        "when: {affected: true}",
        "when: {affected: 1}",
        "'1' is never the answer to 'affected'; it is a bool",
        "emit: ",
    ),
    of_runbook(
        "event on a question nobody asks",
        "when: {affected: true}",
        "when: {touched: true}",
        "no step asks for 'touched'",
        "emit: ",
    ),
    of_runbook(
        "unknown parameter in an argument",
        'touch, "{web-root}',
        'touch, "{web-rot}',
        "there is no parameter 'web-rot' (did you mean 'web-root'?)",
        "argv: [touch",
    ),
    of_runbook(
        "unknown parameter in a probe",
        'host: "{database-host}"',
        'host: "{db-host}"',
        "there is no parameter 'db-host'",
        "- {probe: tcp",
    ),
    of_runbook(
        "unknown parameter in a text",
        "Wartungsmodus an",
        '"{who}: Wartungsmodus an"',
        "there is no parameter 'who'",
        'title: "{who}',
    ),
    of_runbook("single brace", "{{print}}", "{print $1}", "a brace that names no parameter", "message:"),
    of_runbook(
        "secret in a text",
        '"{tables}", ',
        '"{tables}", "{root-pw}", ',
        "'root-pw' is a secret and cannot stand in a text",
        "args:",
    ),
    of_runbook(
        "unused parameter",
        "  web-root: {type: path}\n",
        "  web-root: {type: path}\n  spare: {type: text}\n",
        "the parameter 'spare' is used nowhere; remove it",
        "spare:",
        WARNING,
    ),
    of_runbook(
        "value of an unknown host",
        "database-host: {type: host, text: Der Datenbankserver}",
        "database-host: {type: host, text: Der Datenbankserver}\n  spare: {type: host, default: db9}",
        "there is no host 'db9' in the register",
        "spare:",
    ),
    of_runbook(
        "value of an unknown dataset",
        "default: shop-db",
        "default: shop-dbs",
        "there is no dataset 'shop-dbs' in the estate (did you mean 'shop-db'?)",
        "source:",
    ),
    of_runbook(
        "value that is no choice",
        "default: careful",
        "default: slow",
        "'slow' is none of careful, quick, which 'mode' must be",
        "mode:",
    ),
    of_runbook("value that is no number", "default: 12", "default: many", "'tables' must be a whole number", "tables:"),
    of_runbook("value that is no bool", "default: true", "default: some", "'all' must be true or false", "all:"),
    of_runbook(
        "value against its pattern",
        "default: latest",
        "default: NOW",
        "'NOW' does not match the pattern of 'snapshot'",
        "snapshot: {type",
    ),
    of_runbook(
        "unknown executor",
        "executor: admin",
        "executor: admn",
        "there is no role 'admn' in the register (did you mean 'admin'?)",
        "executor:",
    ),
    of_runbook(
        "executor without deputy",
        "executor: admin",
        "executor: alone",
        "the role 'alone' has no deputy; name one in the register",
        "executor:",
    ),
    of_runbook(
        "executor as own deputy",
        "executor: admin",
        "executor: itself",
        "the role 'itself' has its holder as deputy",
        "executor:",
    ),
    of_runbook("unknown owner", "owner: management", "owner: managment", "there is no role 'managment'", "owner:"),
    of_runbook(
        "approved by an unknown role",
        "approved: {by: management",
        "approved: {by: boss",
        "there is no role 'boss'",
        "approved:",
    ),
    of_runbook("unknown approver", "    by: management", "    by: boss", "there is no role 'boss'", "by: boss"),
    of_runbook(
        "unknown escalation of an approval",
        "escalate_to: insurer",
        "escalate_to: insurrer",
        "there is no role or contact 'insurrer' in the register (did you mean 'insurer'?)",
        "escalate_to:",
    ),
    of_runbook(
        "unknown escalation", "to: insurer}", "to: nobody}", "there is no role or contact 'nobody'", "- {after: 60m"
    ),
    of_runbook(
        "unknown addressee",
        "to: [management, authority]",
        "to: [management, press]",
        "there is no role or contact 'press'",
        "to: [management, press]",
    ),
    of_runbook(
        "unknown host",
        "    target: web1\n",
        "    target: web2\n",
        "there is no host 'web2' in the register (did you mean 'web1'?)",
        "target: web2",
    ),
    of_runbook(
        "unknown host of a probe",
        'maintenance", target: web1}',
        'maintenance", target: web2}',
        "there is no host 'web2'",
        'check: {probe: file, path: "{web-root}',
    ),
    of_runbook(
        "unknown host of a verify",
        'verify: [{probe: http, url: "https://shop.example/health"',
        'verify: [{probe: service, service: nginx, target: web2}, {probe: http, url: "https://shop.example/health"',
        "there is no host 'web2'",
        "verify: [{probe: service",
    ),
    of_runbook(
        "unknown host of what detects",
        "target: db1, name",
        "target: db2, name",
        "there is no host 'db2'",
        "- {probe: process",
    ),
    of_runbook(
        "unknown dataset to restore",
        'dataset: "{source}"',
        'dataset: shop-dbs\n    text: "{source}"',
        "there is no dataset 'shop-dbs' in the estate",
        "dataset: shop-dbs",
    ),
    of_runbook(
        "unknown dataset to back up",
        "datasets: [shop-db]",
        "datasets: [shop-dbs]",
        "there is no dataset 'shop-dbs'",
        "datasets: [shop-dbs]",
    ),
    of_runbook(
        "unknown dataset of a query",
        "dataset: shop-db, query",
        "dataset: shop-dbs, query",
        "there is no dataset 'shop-dbs'",
        "check: {probe: sql",
    ),
    of_runbook(
        "unknown repository to hold",
        "    repository: main\n",
        "    repository: mein\n",
        "there is no repository 'mein' in the estate (did you mean 'main'?)",
        "repository: mein",
    ),
    of_runbook(
        "unknown repository of a probe",
        "probe: copies, repository: main",
        "probe: copies, repository: mein",
        "there is no repository 'mein'",
        "verify: [{probe: copies",
    ),
    of_runbook(
        "unknown runbook",
        "runbook: service\n",
        "runbook: servise\n",
        "there is no runbook 'servise' in the folder of runbooks (did you mean 'service'?)",
        "runbook: servise",
    ),
    of_runbook(
        "runbook that runs itself",
        "runbook: service\n",
        "runbook: database\n",
        "'database' leads back to 'database', so neither would ever end",
        "    runbook: database",
    ),
    of_runbook(
        "unknown parameter of another runbook",
        "params: {host: db1}",
        "params: {host: db1, hast: db1}",
        "there is no parameter 'hast' in the runbook 'service' (did you mean 'host'?)",
        "params: {host",
    ),
    of_runbook(
        "wrong parameter of another runbook",
        "params: {host: db1}",
        "params: {host: db9}",
        "there is no host 'db9' in the register",
        "params: {host",
    ),
    of_runbook(
        "missing parameter of another runbook",
        "    params: {host: db1}\n",
        "",
        "nothing gives 'host' of the runbook 'service' a value; give it at 'params'",
        "- id: rebuild",
    ),
    of_runbook(
        "once without check",
        '    check: {probe: file, path: "{evidence}/datadir.tar"}\n',
        "",
        "a once step without 'check'",
        "- id: save-defect",
    ),
    of_runbook(
        "destructive without check",
        '    check: {probe: sql, dataset: shop-db, query: select count(*) from canary, answer: "1"}\n',
        "",
        "a destructive step without 'check'",
        "- id: load",
    ),
    of_runbook(
        "acting without verify",
        "    verify: [{probe: copies, repository: main}]\n",
        "",
        "nothing shows that it worked; add 'verify'",
        "- id: load",
    ),
    of_runbook(
        "destructive without approval",
        "    to: /srv/restore\n",
        "    to: /srv/restore\n    needs: [cause]\n",
        "a destructive step that nobody approves",
        "- id: restore\n",
    ),
    of_runbook(
        "destructive whose approval is led past",
        "    by: management\n",
        "    by: management\n    when: {cause: attack}\n",
        "a destructive step that nobody approves",
        "- id: restore\n",
    ),
    of_runbook(
        "retry of a once step",
        "    timeout: 30m\n",
        "    timeout: 30m\n    retry: {max: 3}\n",
        "a once step is never tried again by itself; remove 'retry'",
        "retry: {max: 3}",
    ),
    of_runbook(
        "retry of a destructive step",
        "    timeout: 45m\n",
        "    timeout: 45m\n    retry: {max: 3}\n",
        "a destructive step is never tried again by itself",
        "retry: {max: 3}",
    ),
    of_runbook(
        "no word on drills",
        "    expect: 1m\n    drill: run\n",
        "    expect: 1m\n",
        "nothing says what a drill does with it",
        "- id: freeze",
    ),
    of_runbook(
        "no undo",
        "    undo: {manual: Das Verzeichnis löschen}\n",
        "",
        "nothing says how it is taken back; add 'undo'",
        "- id: restore\n",
        WARNING,
    ),
    of_runbook(
        "critical path over the rto",
        "objectives: {rto: 2h",
        "objectives: {rto: 1h30m",
        "the critical path takes 1 h 49 min, longer than the rto of 1 h 30 min: stop-writes 2 min, "
        "save-defect 10 min, cause 5 min, rebuild 20 min, approve 5 min, restore 40 min, load 25 min, "
        "reopen 2 min",
        "objectives:",
    ),
    of_runbook(
        "no planned time",
        "    expect: 2m\n    drill: simulate\n  - id: tell",
        "    drill: simulate\n  - id: tell",
        "nothing says how long it takes, so its timeout of 10 min counts; add 'expect'",
        "- id: reopen",
        WARNING,
    ),
    of_runbook(
        "planned longer than allowed",
        "    timeout: 30m\n",
        "    timeout: 9m\n",
        "it is ended after its timeout of 9 min, sooner than planned",
        "expect: 10m",
    ),
    of_runbook(
        "nothing restores service",
        "    marks: service_restored\n",
        "",
        "no step says when service is back",
        "version: 1",
    ),
    of_runbook(
        "service restored twice",
        "    title: Einspielen\n",
        "    title: Einspielen\n    marks: service_restored\n",
        "'load' marks service_restored already; let only one step mark it",
        "marks: service_restored\n    expect: 2m",
    ),
    of_runbook(
        "service restored unproven",
        '    verify: [{probe: http, url: "https://shop.example/health"}]\n',
        "",
        "service counts as restored without a proof",
        "marks: service_restored",
    ),
    of_runbook(
        "rto over mtpd", "mtpd: 8h", "mtpd: 110m", "the rto of 2 h is longer than the mtpd of 1 h 50 min", "objectives:"
    ),
    of_runbook(
        "nobody else to approve",
        "    by: management\n    escalate_to",
        "    by: alone\n    escalate_to",
        "where 'anna' runs it, too few others have the role 'alone'",
        "by: alone",
    ),
    of_runbook(
        "fewer people than must approve",
        "    by: management\n    escalate_to",
        "    by: management\n    min: 3\n    escalate_to",
        "the role 'management' has fewer people than must agree",
        "min: 3",
    ),
    of_runbook(
        "approval that stands still",
        "    escalate_to: insurer\n",
        "",
        "where nobody answers, the run stands still",
        "- id: approve",
        WARNING,
    ),
    of_runbook(
        "break glass without need",
        "    escalate_to: insurer\n",
        "    escalate_to: insurer\n    four_eyes: false\n    break_glass: true\n",
        "whoever runs it may agree anyway",
        "break_glass: true",
        WARNING,
    ),
    of_runbook(
        "review overdue",
        "review_due: 2027-09-01",
        "review_due: 2026-11-23",
        "the review was due on 2026-11-23",
        "review_due:",
    ),
    of_runbook(
        "review in more than a year",
        "review_due: 2027-09-01",
        "review_due: 2027-09-03",
        "the next review is due more than a year after the approval of 2026-09-01",
        "review_due:",
    ),
    of_runbook(
        "approved in the future", "on: 2026-09-01", "on: 2026-11-25", "the approval is dated in the future", "approved:"
    ),
    of_runbook(
        "not approved",
        "approved: {by: management, on: 2026-09-01}\n",
        "",
        "revision 3 is not approved",
        "version: 1",
        WARNING,
    ),
    Defect(
        "another script",
        "runbooks/load.sh",
        "mariadb",
        "mysql",
        "load.sh has another content; look at it, then write",
        "sha256:",
        told_of="runbooks/database.yaml",
    ),
    of_runbook(
        "missing script", "script: load.sh", "script: lode.sh", "the script lode.sh cannot be read", "script: lode.sh"
    ),
    of_runbook(
        "nobody asks about personal data",
        "Sind personenbezogene Daten betroffen?",
        "Ist wer betroffen?",
        "no decide step asks whether personal data is affected",
        "- {id: art-33",
    ),
    of_runbook(
        "clock that nothing starts",
        "start: breach.aware",
        "start: breach.known",
        "no decide step emits 'breach.known' (did you mean 'breach.aware'?)",
        "- {id: art-33",
    ),
    of_runbook(
        "secret on another machine",
        "    script: load.sh\n",
        "    script: load.sh\n    target: web1\n",
        "secrets stay on this machine, but 'web1' is reached by ssh",
        "secrets:",
    ),
    of_runbook(
        "secret that is none",
        "secrets: {PASSWORD: root-pw}",
        'secrets: {PASSWORD: mode}\n    text: "{mode}"',
        "there is no parameter of type secret 'mode' in this runbook",
        "secrets:",
    ),
    of_runbook(
        "nothing detects",
        'detect:\n  any:\n    - {probe: tcp, host: "{database-host}", port: 3306, expect: failing}\n'
        "    - {probe: process, target: db1, name: mariadbd, expect: failing}\n",
        "",
        "no probe tells that it fits",
        "version: 1",
        WARNING,
    ),
    of_runbook(
        "no immediate measures",
        "immediate: [Keine Reparatur am einzigen Bestand, Uhrzeit notieren]\n",
        "",
        "nothing says what anybody can do at once",
        "version: 1",
        WARNING,
    ),
    of_runbook(
        "no word on personal data",
        "data_protection: Verfügbarkeit und Integrität sind betroffen\n",
        "",
        "nothing says what follows for personal data",
        "version: 1",
        WARNING,
    ),
]

CONCEPT = [
    of_concept(
        "cycle of systems",
        "    kind: infra\n",
        "    kind: infra\n    depends: [shop]\n",
        "systems wait for one another: net -> shop -> db -> net; take one out of 'depends'",
        "depends: [shop]",
    ),
    of_concept(
        "system not in the plan",
        "depends: [net]",
        "depends: [net, dns]",
        "the system 'dns' is not in this plan",
        "depends: [net, dns]",
    ),
    of_concept(
        "dependency with a longer rto",
        "rto: 1h, mtpd: 4h",
        "rto: 150m, mtpd: 4h",
        "'net' may take 2 h 30 min, longer than the 2 h of what needs it",
        "depends: [net]",
    ),
    of_concept(
        "system with rto over mtpd",
        "rto: 3h, rpo: 24h, mtpd: 8h",
        "rto: 3h, rpo: 24h, mtpd: 2h",
        "the rto of 3 h is longer than the mtpd of 2 h",
        "objectives: {rto: 3h",
    ),
    of_concept("system without mtpd", "rto: 1h, mtpd: 4h", "rto: 1h", "add 'mtpd'", "objectives: {rto: 1h}"),
    of_concept("data without rpo", "rto: 2h, rpo: 24h, ", "rto: 2h, ", "add 'rpo'", "objectives: {rto: 2h"),
    of_concept(
        "path over the rto of a system",
        "expect: 60m",
        "expect: 105m",
        "it runs again after 2 h 5 min at best, later than its rto of 2 h: net 20 min, db 1 h 45 min",
        "objectives: {rto: 2h",
    ),
    of_concept(
        "runbook that does not exist",
        "runbook: service",
        "runbook: servise",
        "there is no runbook 'servise' in the folder of runbooks",
        "runbook: servise",
    ),
    of_concept(
        "parameter that the runbook does not have",
        "params: {host: db1}",
        "params: {host: db1, hast: x}",
        "there is no parameter 'hast' in the runbook 'service'",
        "params:",
    ),
    of_concept(
        "parameter that does not fit",
        "params: {host: db1}",
        "params: {host: db9}",
        "there is no host 'db9' in the register",
        "params:",
    ),
    of_concept(
        "parameter without a value",
        "    params: {host: db1}\n",
        "",
        "nothing gives 'host' of the runbook 'service' a value; give it at 'params'",
        "runbook: service",
    ),
    of_concept("unknown role", "roles: [admin, ", "roles: [admn, ", "there is no role 'admn'", "roles:"),
    of_concept("role without deputy", "roles: [admin, ", "roles: [alone, ", "the role 'alone' has no deputy", "roles:"),
    of_concept("role as own deputy", "roles: [admin, ", "roles: [itself, ", "has its holder as deputy", "roles:"),
    of_concept(
        "owner of a system without deputy",
        "    owner: management",
        "    owner: alone",
        "the role 'alone' has no deputy",
        "owner: alone",
    ),
    of_concept("unknown owner of the concept", "owner: management", "owner: boss", "no role 'boss'", "owner: boss"),
    of_register(
        "one phone number",
        'name: Cora Clever, phones: ["+49 911 1003", ',
        "name: Cora Clever, phones: [",
        "'cora' has only one phone number in the register",
        "roles:",
        WARNING,
    ),
    of_concept(
        "one way to reach people",
        "via: [phone, sms]",
        "via: [phone]",
        "the alarm chain has only one way to reach people",
        "- {role: admin",
    ),
    of_concept(
        "nothing out of band",
        ", out_of_band: true",
        "",
        "no link of the alarm chain works without our own systems",
        "- {role: admin",
    ),
    of_concept(
        "unknown role to tell",
        "{role: management, within",
        "{role: boss, within",
        "there is no role 'boss'",
        "- {role: boss",
    ),
    of_concept(
        "nobody out of band",
        "- {role: admin, within: 10m",
        "- {role: remote, within: 10m",
        "nobody with the role 'remote' has a way out of band",
        "- {role: remote",
    ),
    of_concept(
        "alarm chain out of order",
        "within: 20m",
        "within: 5m",
        "told sooner than the one before; put the chain in order",
        "- {role: management",
    ),
    of_concept(
        "unknown contact",
        "contacts: [authority, ",
        "contacts: [autority, ",
        "there is no contact 'autority' in the register (did you mean 'authority'?)",
        "contacts:",
    ),
    of_concept(
        "contact that cannot be reached",
        "contacts: [authority, ",
        "contacts: [authority, silent, ",
        "nothing says how to reach 'silent'",
        "contacts:",
        WARNING,
    ),
    of_concept(
        "bootstrap in one place",
        "where: [Tresor, Laptop 2]",
        "where: [Tresor, Tresor]",
        "'Rettungspaket' is kept in one place only",
        "- {item: Rettungspaket",
    ),
    of_concept(
        "bootstrap only on what it restores",
        "where: [Tresor, Laptop 2]",
        'where: ["db:/root/kit", "web1:/root"]',
        "'Rettungspaket' is kept only on what it is needed to restore",
        "- {item: Rettungspaket",
    ),
    of_concept(
        "bootstrap not looked at",
        "checked: 2026-11-02}",
        "checked: 2026-08-23}",
        "'Rettungspaket' was last checked 93 days ago",
        "- {item: Rettungspaket",
    ),
    of_concept(
        "bootstrap looked at in the future",
        "checked: 2026-11-02}",
        "checked: 2026-12-02}",
        "'Rettungspaket' is checked in the future",
        "- {item: Rettungspaket",
    ),
    of_concept(
        "too few offline copies",
        "form: Papier",
        "form: auf Anfrage",
        "fewer than 2 offline copies (paper, a stick) hold revision 5",
        "- {holder: Gesch",
    ),
    of_concept(
        "offline copies of an old revision",
        "form: Papier, revision: 5",
        "form: Papier, revision: 4",
        "fewer than 2 offline copies",
        "- {holder: Gesch",
    ),
    of_concept(
        "old copy",
        "distribution:\n",
        "distribution:\n  - {holder: Lager, form: Papier, revision: 4}\n",
        "'Lager' has revision 4, not 5",
        "- {holder: Lager",
        WARNING,
    ),
    of_concept(
        "table top exercise overdue",
        "last_table_top: 2026-06-01",
        "last_table_top: 2025-11-01",
        "last done on 2025-11-01, more than 364 d ago",
        "last_table_top:",
    ),
    of_concept(
        "full exercise overdue",
        "last_full: 2026-05-12",
        "last_full: 2025-05-12",
        "last done on 2025-05-12",
        "last_full:",
    ),
    of_concept(
        "exercise in the future", "last_full: 2026-05-12", "last_full: 2027-05-12", "dated in the future", "last_full:"
    ),
    of_concept("never exercised", "  last_full: 2026-05-12\n", "", "never done yet", "table_top:", WARNING),
    of_concept(
        "never followed by others",
        "  by_third_party: 2026-05-12\n",
        "",
        "nobody who did not write it has followed it",
        "table_top:",
        WARNING,
    ),
    of_concept(
        "dataset that no system carries",
        "    datasets: [shop-files]\n",
        "",
        "no system carries the dataset 'shop-files' of the estate",
        "  net:",
    ),
    of_concept(
        "dataset that is not in the estate",
        "datasets: [shop-db]",
        "datasets: [shop-db, shop-dbs]",
        "there is no dataset 'shop-dbs' in the estate",
        "datasets: [shop-db, shop-dbs]",
    ),
    of_concept("nothing ready", ", ready: true", "", "nothing that could stand in is ready", "- {item: Ersatzserver"),
    of_concept(
        "what is needed first cannot be carried",
        "serves: [net, db]",
        "serves: [db]",
        "nothing that is ready can carry 'net', which is needed first",
        "- {item: Ersatzserver",
        WARNING,
    ),
    of_concept(
        "resource for an unknown system",
        "serves: [shop]",
        "serves: [shob]",
        "there is no system 'shob' in this plan (did you mean 'shop'?)",
        "- {item: Konto",
    ),
    of_concept(
        "no fresh backup at the end",
        "Sicherung läuft und ist grün",
        "Feierabend",
        "the return to normal does not end with a fresh backup",
        "steps: [Notbetriebs",
    ),
    of_concept(
        "unknown role for normal operation",
        "  approval: management",
        "  approval: boss",
        "there is no role 'boss'",
        "approval: boss",
    ),
    of_concept(
        "unknown role to declare it",
        "declared_by: [management, ",
        "declared_by: [boss, ",
        "there is no role 'boss'",
        "declared_by:",
    ),
    of_concept(
        "concept overdue",
        "review_due: 2027-09-01",
        "review_due: 2026-11-01",
        "the review was due on 2026-11-01",
        "review_due:",
    ),
    of_concept(
        "concept not approved",
        "approved: {by: management, on: 2026-09-01}\n",
        "",
        "revision 5 is not approved",
        "version: 1",
        WARNING,
    ),
]


LOOK = "  - {{id: look, title: Ansehen, expect: 1m, {}}}\n  - id: tell"
RUNBOOK += [
    of_runbook(
        "unknown host of what is observed",
        "  - id: tell",
        LOOK.format("kind: probe, do: [{probe: file, path: /srv, target: web2}]"),
        "there is no host 'web2'",
        "- {id: look",
    ),
    of_runbook(
        "unknown host of what is waited for",
        "  - id: tell",
        LOOK.format("kind: wait, until: {probe: file, path: /srv, target: web2}"),
        "there is no host 'web2'",
        "- {id: look",
    ),
    of_runbook(
        "unknown parameter in the environment",
        "    title: Shop öffnen\n",
        '    title: Shop öffnen\n    env: {SHOP: "{shop}"}\n',
        "there is no parameter 'shop'",
        "env: {SHOP",
    ),
    Defect(
        "value for a secret",
        "register.yaml",
        "  web-root: /var/www/shop\n",
        "  web-root: /var/www/shop\n  root-pw: hunter2\n",
        "'root-pw' is a secret; say in the runbook where it is to be had",
        "root-pw: {type",
        told_of="runbooks/database.yaml",
    ),
]

CONCEPT += [
    of_concept(
        "nothing shows that all runs",
        'verify:\n  - {probe: http, url: "https://shop.example/health"}\n'
        "  - {probe: service, service: mariadb, target: db1}\n",
        "",
        "nothing shows from outside that all runs again",
        "version: 1",
        WARNING,
    ),
    of_concept("unknown host in the end", "target: db1}", "target: db9}", "no host 'db9'", "- {probe: service"),
    of_concept(
        "parameter in the end",
        "https://shop.example/health",
        "https://{shop}/health",
        "a restart concept has no parameter 'shop'; write the value itself",
        "- {probe: http",
    ),
    of_concept(
        "parameter for a runbook",
        "params: {host: db1}",
        'params: {host: "{db}"}',
        "a restart concept has no parameter 'db'",
        "params: {host",
    ),
    of_concept(
        "clock that no restart starts",
        "start: breach.aware",
        "start: breach.known",
        "nothing in a restart starts 'breach.known'; only breach.aware is asked for",
        "- {id: art-33",
    ),
]
RUNBOOK += [
    Defect(
        "approvers without a login",
        "register.yaml",
        "management: {person: cora, deputy: anna}\n",
        "management: {person: dora, deputy: emil}\n",
        "drtool knows too few with the role 'management' by their login; add their 'accounts' in the register",
        "by: management",
        told_of="runbooks/database.yaml",
    ),
    of_runbook(
        "value that is no path",
        "web-root: {type: path}",
        "web-root: {type: path}\n  spare: {type: path, default: srv}",
        "'spare' must be an absolute path",
        "spare:",
    ),
    of_runbook(
        "value that is no name",
        "web-root: {type: path}",
        "web-root: {type: path}\n  spare: {type: name, default: a b}",
        "'spare' must be made of letters, digits, . - and _",
        "spare:",
    ),
]


def test_a_sound_site_has_no_problem(site: Path) -> None:
    assert [problem.described for problem in problems(site)] == []


@pytest.mark.parametrize("defect", [*RUNBOOK, *CONCEPT], ids=str)
def test_a_defect_is_found_where_it_stands(site: Path, defect: Defect) -> None:
    edited, told = site / defect.file, site / (defect.told_of or defect.file)
    text = edited.read_text(encoding="utf-8")
    assert defect.old in text, "the edit changes nothing"
    edited.write_text(text.replace(defect.old, defect.new, 1), encoding="utf-8")
    found = [problem for problem in problems(site) if defect.says in problem.message]
    assert found, [problem.described for problem in problems(site)]
    assert found[0].severity is defect.severity
    assert found[0].where.startswith(f"{told}:{line_of(told, defect.at)}:")
    assert re.fullmatch(r"[^A-Z].*[^.]", found[0].message)


def line_of(path: Path, beginning: str) -> int:
    """The number of the line that a piece of text begins, or else lies in."""
    text = path.read_text(encoding="utf-8")
    begins = re.search(rf"^ *{re.escape(beginning)}", text, re.MULTILINE)
    assert begins, f"no line begins with {beginning}"
    return text[: begins.end()].rstrip("\n").count("\n", 0, begins.start()) + 1


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_document_that_does_not_load_tells_its_own_mistakes(site: Path) -> None:
    edit(site / "runbooks" / "service.yaml", "revision: 1", "revision: none")
    (problem,) = (one for one in problems(site) if one.procedure == "service")
    assert problem.where == f"{site}/runbooks/service.yaml:4:11: revision"
    assert problem.message == "must be a whole number"
    assert has_errors((problem,))


def test_what_refers_to_a_document_that_does_not_load_is_not_blamed(site: Path) -> None:
    edit(site / "runbooks" / "service.yaml", "revision: 1", "revision: none")
    assert {problem.procedure for problem in problems(site)} == {"service"}


def test_two_procedures_of_one_id_are_told(site: Path) -> None:
    copied = (site / "runbooks" / "service.yaml").read_text(encoding="utf-8")
    (site / "runbooks" / "zz.yaml").write_text(copied, encoding="utf-8")
    (problem,) = problems(site)
    assert problem.where == f"{site}/runbooks/zz.yaml:2:10: runbook"
    assert problem.message.startswith("service.yaml has the id 'service' already")


def test_runbooks_that_run_one_another_are_told_at_both(site: Path) -> None:
    step = "steps:\n  - {id: back, title: Zurück, kind: runbook, runbook: database, expect: 1m, drill: run}\n"
    edit(site / "runbooks" / "service.yaml", "steps:\n", step)
    found = [problem for problem in problems(site) if "so neither would ever end" in problem.message]
    assert [problem.procedure for problem in found] == ["database", "service"]


def test_without_an_estate_its_names_are_not_looked_at(site: Path) -> None:
    edit(site / "runbooks" / "database.yaml", "datasets: [shop-db]", "datasets: [shop-dbs]")
    procedures = load_procedures(site / "runbooks")
    assert lint(procedures, load_register(site / "register.yaml"), None, TODAY) == ()


def test_branches_that_exclude_one_another_are_not_added_up(site: Path) -> None:
    path = site / "runbooks" / "database.yaml"
    edit(path, "    when: {cause: hardware}\n", "    when: {cause: hardware}\n    text: Nur bei Hardware\n")
    other = (
        "  - {id: other, title: Anders, kind: wait, when: {cause: crash}, for: 20m}\n"
        "  - id: approve\n    needs: [other, freeze]\n"
    )
    edit(path, "  - id: approve\n", other)
    edit(path, "    needs: [rebuild, freeze]\n", "")
    assert problems(site) == ()


def test_warnings_alone_are_no_errors(site: Path) -> None:
    edit(site / "runbooks" / "service.yaml", "data_protection: Verfügbarkeit bewerten\n", "")
    found = problems(site)
    assert found and not has_errors(found)


def test_problems_of_a_document_come_in_the_order_of_its_lines(site: Path) -> None:
    path = site / "runbooks" / "database.yaml"
    edit(path, "to: insurer}", "to: nobody}")
    edit(path, "    by: management", "    by: boss")
    edit(path, "executor: admin", "executor: boss")
    lines = [int(re.findall(r":(\d+):\d+: ", problem.where)[0]) for problem in problems(site)]
    assert lines == sorted(lines) and len(lines) == 3
