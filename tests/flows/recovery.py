"""A sound site for recovery: estate, register, two runbooks and a concept, to be broken in one way by a test."""

from __future__ import annotations

import hashlib
from pathlib import Path

SCRIPT = b"#!/bin/sh\nmariadb < /srv/restore/shop.sql\n"

ESTATE = """\
version: 1
site: shop
locale: de
repositories:
  main:
    password: {file: main.password}
    copies:
      disk: {directory: /srv/backup/main}
datasets:
  shop-files: {repository: main, files: {paths: [/var/www/shop]}, rpo: 24h, rto: 2h}
  shop-db: {repository: main, sqlite: {path: /srv/shop.db}, rpo: 24h, rto: 1h}
runbooks: runbooks
register: register.yaml
"""

REGISTER = """\
version: 1
register: Beispiel-Hosting GmbH
people:
  anna: {name: Anna Amsel, phones: ["+49 911 1001", "+49 170 1001"], out_of_band: "Threema AAAA1001", accounts: [anna]}
  bert: {name: Bert Buche, phones: ["+49 911 1002", "+49 170 1002"], out_of_band: "Threema BBBB1002", accounts: [bert]}
  cora: {name: Cora Clever, phones: ["+49 911 1003", "+49 170 1003"], accounts: [cora]}
  dora: {name: Dora Dachs, phones: ["+49 911 1004", "+49 170 1004"]}
  emil: {name: Emil Erle, phones: ["+49 911 1005", "+49 170 1005"]}
roles:
  admin: {person: anna, deputy: bert}
  management: {person: cora, deputy: anna}
  privacy: {person: cora, deputy: bert}
  alone: {person: anna}
  itself: {person: anna, deputy: anna}
  remote: {person: cora}
contacts:
  authority: {name: Aufsichtsbehörde, portal: "https://authority.example/report", duty: "Art. 33 GDPR"}
  insurer: {name: Versicherung AG, phones: ["+49 800 2002"], contract: K-1003}
  silent: {name: Niemand}
hosts:
  db1: {}
  web1: {ssh: {address: 192.0.2.10, known_hosts: known_hosts}}
values:
  database-host: db1
  web-root: /var/www/shop
"""

DATABASE = """\
version: 1
runbook: database
title: Datenbank defekt oder nicht startbar
revision: 3
owner: management
approved: {by: management, on: 2026-09-01}
review_due: 2027-09-01
basis: ["BSI NOT.4.15 {not a parameter}"]
trigger: Der Shop meldet einen Datenbankfehler
objectives: {rto: 2h, rpo: 24h, mtpd: 8h}
executor: admin
params:
  database-host: {type: host, text: Der Datenbankserver}
  web-root: {type: path}
  mode: {type: choice, values: [careful, quick], default: careful}
  tables: {type: number, default: 12}
  all: {type: bool, default: true}
  source: {type: dataset, default: shop-db}
  snapshot: {type: snapshot, pattern: "[a-z0-9]+", default: latest}
  root-pw: {type: secret, secret: {env: ROOT_PW}}
detect:
  any:
    - {probe: tcp, host: "{database-host}", port: 3306, expect: failing}
    - {probe: process, target: db1, name: mariadbd, expect: failing}
immediate: [Keine Reparatur am einzigen Bestand, Uhrzeit notieren]
steps:
  - id: stop-writes
    title: Wartungsmodus an
    phase: immediate
    kind: exec
    effect: idempotent
    target: web1
    argv: [touch, "{web-root}/.maintenance"]
    check: {probe: file, path: "{web-root}/.maintenance", target: web1}
    verify: [{probe: http, url: "https://shop.example/", status: ["503"]}]
    undo: {argv: [rm, -f, "{web-root}/.maintenance"]}
    retry: {max: 2}
    expect: 2m
    drill: simulate
  - id: freeze
    title: Aufbewahrung einfrieren
    needs: []
    kind: hold
    repository: main
    expect: 1m
    drill: run
  - id: save-defect
    title: Defekten Bestand sichern
    needs: [stop-writes]
    kind: exec
    effect: once
    target: "{database-host}"
    argv: [tar, -cf, "{evidence}/datadir.tar", /var/lib/mysql]
    check: {probe: file, path: "{evidence}/datadir.tar"}
    verify: [{probe: command, argv: [tar, -tf, "{evidence}/datadir.tar"]}]
    timeout: 30m
    expect: 10m
    drill: simulate
  - id: cause
    title: Ursache einordnen
    kind: decide
    ask:
      cause: {type: choice, values: [hardware, crash, attack], text: Was war es?}
      affected: {type: bool, text: Sind personenbezogene Daten betroffen?}
    emit: [{when: {affected: true}, event: breach.aware}]
    expect: 5m
  - id: rebuild
    title: Dienst neu aufsetzen
    kind: runbook
    when: {cause: hardware}
    runbook: service
    params: {host: db1}
    expect: 20m
    drill: run
  - id: approve
    title: Rücksicherung freigeben
    kind: approve
    needs: [rebuild, freeze]
    by: management
    escalate_to: insurer
    expect: 5m
  - id: restore
    title: Zurückspielen
    kind: restore
    dataset: "{source}"
    snapshot: "{snapshot}"
    to: /srv/restore
    undo: {manual: Das Verzeichnis löschen}
    timeout: 1h
    expect: 40m
    drill: run
  - id: load
    title: Einspielen
    kind: script
    effect: destructive
    script: load.sh
    sha256: @SHA256@
    args: ["{tables}", "{mode}", "{all}"]
    secrets: {PASSWORD: root-pw}
    check: {probe: sql, dataset: shop-db, query: select count(*) from canary, answer: "1"}
    verify: [{probe: copies, repository: main}]
    undo: {manual: Den gesicherten Bestand zurücklegen}
    timeout: 45m
    expect: 25m
    drill: run
  - id: reopen
    title: Shop öffnen
    kind: exec
    effect: idempotent
    argv: [rm, -f, "{web-root}/.maintenance"]
    verify: [{probe: http, url: "https://shop.example/health"}]
    marks: service_restored
    expect: 2m
    drill: simulate
  - id: tell
    title: Kunden informieren
    kind: notify
    to: [management, authority]
    message: "Der Shop {site} läuft wieder; awk braucht {{print}}"
    expect: 5m
    drill: simulate
  - id: fresh
    title: Frische Sicherung
    kind: backup
    datasets: [shop-db]
    expect: 5m
    drill: run
clocks:
  - {id: art-33, start: breach.aware, deadline: 72h, duty: Art. 33 Meldung}
escalation:
  - {after: 15m, unless: started, to: management, via: [phone]}
  - {after: 60m, to: insurer}
data_protection: Verfügbarkeit und Integrität sind betroffen
"""

SERVICE = """\
version: 1
runbook: service
title: Dienst nicht erreichbar
revision: 1
owner: admin
approved: {by: management, on: 2026-09-01}
review_due: 2027-09-01
objectives: {rto: 30m}
executor: admin
params:
  host: {type: host}
detect:
  all: [{probe: service, service: mariadb, expect: failing}]
immediate: [Von außen prüfen]
steps:
  - id: start
    title: Dienst starten
    kind: service
    target: "{host}"
    service: mariadb
    action: restart
    verify: [{probe: service, service: mariadb, target: "{host}"}]
    marks: service_restored
    expect: 3m
    drill: run
data_protection: Verfügbarkeit bewerten
"""

CONCEPT = """\
version: 1
restart_concept: restart
title: Wiederanlaufkonzept
revision: 5
owner: management
approved: {by: management, on: 2026-09-01}
review_due: 2027-09-01
purpose: Nach einem Totalausfall wieder arbeiten
scope: Webshop
audience: [Notfallteam]
activation:
  criteria: [Mehr als ein System länger als 30 min gestört]
  declared_by: [management, admin]
  deactivation: Alle Proben seit 24 h grün
roles: [admin, management, privacy]
alarm_chain:
  - {role: admin, within: 10m, via: [phone, sms], out_of_band: true}
  - {role: management, within: 20m, via: [phone]}
contacts: [authority, insurer]
bootstrap:
  - {item: Rettungspaket, where: [Tresor, Laptop 2], checked: 2026-11-02}
  - {item: Schlüssel, where: [Tresor, Bankschließfach], checked: 2026-11-02, sealed: true}
systems:
  net:
    title: Netz
    kind: infra
    owner: admin
    objectives: {rto: 1h, mtpd: 4h}
    expect: 20m
    degraded: Mobilfunk
    manual: none
    runbook: service
    params: {host: db1}
  db:
    title: Datenbank
    kind: host
    depends: [net]
    owner: admin
    objectives: {rto: 2h, rpo: 24h, mtpd: 8h}
    expect: 60m
    degraded: nur lesen
    manual: Bestellung per Telefon
    runbook: database
    datasets: [shop-db]
  shop:
    title: Webshop
    kind: app
    depends: [db, net]
    owner: management
    objectives: {rto: 3h, rpo: 24h, mtpd: 8h}
    expect: 30m
    degraded: Katalog ohne Kasse
    manual: Telefon
    runbook: database
    datasets: [shop-files]
verify:
  - {probe: http, url: "https://shop.example/health"}
  - {probe: service, service: mariadb, target: db1}
clocks:
  - {id: art-33, start: breach.aware, deadline: 72h, duty: Art. 33 Meldung an die Aufsicht}
resources:
  - {item: Ersatzserver, where: Lager, serves: [net, db], ready: true}
  - {item: Konto beim Zweitanbieter, where: Zweitanbieter, serves: [shop]}
return_to_normal:
  steps: [Notbetriebsdaten nachtragen, Sicherung läuft und ist grün]
  approval: management
communication: {templates: [Störung, Entwarnung], update_every: 1h}
exercises:
  table_top: 52w
  restore_drill: 12w
  full: 52w
  last_table_top: 2026-06-01
  last_full: 2026-05-12
  by_third_party: 2026-05-12
distribution:
  - {holder: Geschäftsführung, form: Papier, revision: 5}
  - {holder: Admin, form: verschlüsselter USB-Stick, revision: 5}
incident_handling: Art. 33 über den Entscheidungsschritt der Anweisungen
"""


def write_site(folder: Path) -> Path:
    """The sound site in a folder."""
    (folder / "runbooks").mkdir()
    texts = {
        "drtool.yaml": ESTATE,
        "register.yaml": REGISTER,
        "runbooks/database.yaml": DATABASE.replace("@SHA256@", hashlib.sha256(SCRIPT).hexdigest()),
        "runbooks/service.yaml": SERVICE,
        "runbooks/restart.yaml": CONCEPT,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "runbooks" / "load.sh").write_bytes(SCRIPT)
    (folder / "main.password").write_text("throw-away\n")
    (folder / "main.password").chmod(0o600)
    return folder
