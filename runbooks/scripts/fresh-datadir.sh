#!/bin/sh
# Legt ein neues, leeres Datenverzeichnis an; das alte wird daneben aufgehoben, nie gelöscht.
#
#   fresh-datadir.sh ART DATENVERZEICHNIS BENUTZER EINSTELLUNGEN KONTEN VERMERK
#
#   ART               mariadb oder postgresql
#   DATENVERZEICHNIS  z. B. /var/lib/mysql oder /var/lib/postgresql/15/main
#   BENUTZER          dem es gehören soll, wenn es kein altes mehr gibt
#   EINSTELLUNGEN     MariaDB: die Datei mit den Einstellungen (my.cnf); PostgreSQL: der Ordner der Programme
#   KONTEN            Datei mit SQL, das die Konten des Verwalters und der Sicherung anlegt (Rechte 0600); darf fehlen
#   VERMERK           Datei, die es am Ende gibt; ist sie schon da, geschieht nichts
#
# Die Datenbank muss stehen. Ein Abbruch mittendrin lässt das Alte liegen; beim nächsten Mal geht es weiter.
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein
umask 077

[ "$#" -eq 6 ] || { echo "Aufruf: fresh-datadir.sh ART DATENVERZEICHNIS BENUTZER EINSTELLUNGEN KONTEN VERMERK" >&2; exit 2; }
kind=$1 data=${2%/} user=$3 settings=$4 accounts=$5 memo=$6
case $kind in
    mariadb | postgresql) ;;
    *) echo "ART muss mariadb oder postgresql sein" >&2; exit 2 ;;
esac
case $data in
    '' | / | /var | /var/lib | /etc | /home | /srv) echo "$2 ist kein Datenverzeichnis" >&2; exit 2 ;;
    /*) ;;
    *) echo "$2 ist kein absoluter Pfad" >&2; exit 2 ;;
esac
if [ -e "$memo" ]; then
    echo "schon geschehen: $(cat "$memo")"
    exit 0
fi
mkdir -p "$(dirname "$memo")"
(umask 022 && mkdir -p "$(dirname "$data")") # dort muss auch BENUTZER hinein

running() {
    # Ein Prozess, der tot ist und nur noch nicht abgeholt (Zustand Z), zählt nicht.
    for comm in /proc/[0-9]*/comm; do
        read -r name <"$comm" 2>/dev/null || continue
        case $name in
            mariadbd | mysqld | postgres) ;;
            *) continue ;;
        esac
        process=${comm%/comm}
        case $(readlink "$process/cwd" 2>/dev/null || true) in
            "$data" | "$data"/*) echo "${process#/proc/}"; return 0 ;;
        esac
    done
    return 1
}
if process=$(running); then
    echo "die Datenbank läuft noch auf $data (Prozess $process): erst anhalten" >&2
    exit 1
fi

old="$data.defekt-$(basename "$(dirname "$memo")")"
group=$(id -gn "$user")
if [ -d "$data" ] && [ ! -e "$old" ] && [ -n "$(ls -A "$data")" ]; then
    user=$(stat -c %U "$data") group=$(stat -c %G "$data")
    if ! mv -T "$data" "$old"; then
        echo "$data lässt sich nicht umbenennen (eigener Einhängepunkt?): von Hand leeren, dann noch einmal" >&2
        exit 1
    fi
    echo "das alte Verzeichnis liegt jetzt in $old"
elif [ -d "$data" ] && [ -n "$(ls -A "$data")" ]; then
    # Von einem früheren, abgebrochenen Versuch dieses Laufs.
    mv -T "$data" "$data.halb-$$"
fi
install -d -m 0700 -o "$user" -g "$group" "$data"

as_user() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid "$user" --regid "$group" --clear-groups -- "$@"
    else
        "$@"
    fi
}

case $kind in
    mariadb)
        mode=socket
        [ ! -r "$accounts" ] || mode=normal # die Konten setzen dann das Kennwort des Verwalters
        as_user mariadb-install-db --defaults-file="$settings" --datadir="$data" --skip-test-db \
            --auth-root-authentication-method="$mode" >/dev/null
        if [ -r "$accounts" ]; then
            { echo 'FLUSH PRIVILEGES;'; cat "$accounts"; } |
                as_user mariadbd --defaults-file="$settings" --datadir="$data" --bootstrap --skip-networking >/dev/null
        fi ;;
    postgresql)
        as_user "$settings/initdb" --pgdata="$data" --auth-local=peer --auth-host=scram-sha-256 --data-checksums \
            --encoding=UTF8 >/dev/null
        if [ -r "$accounts" ]; then
            as_user "$settings/postgres" --single -j -D "$data" postgres <"$accounts" >/dev/null
        fi ;;
esac
[ -r "$accounts" ] || echo "ohne $accounts gibt es nur das Konto des Verwalters; das der Sicherung fehlt noch"
printf '%s neu angelegt am %s, das alte: %s\n' "$data" "$(date -u +%FT%TZ)" "$old" >"$memo"
cat "$memo"
