#!/bin/sh
# Vergleicht einen zurückgespielten Stand mit dem jetzigen, Inhalt gegen Inhalt, und ändert nichts.
#
#   compare-trees.sh ORDNER PFAD LISTE
#
#   ORDNER  wohin zurückgespielt wurde; der Pfad erscheint darin in voller Länge
#   PFAD    der Pfad, um den es geht, z. B. /var/www/shop/bilder
#   LISTE   Datei für das Ergebnis
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein
umask 077

[ "$#" -eq 3 ] || { echo "Aufruf: compare-trees.sh ORDNER PFAD LISTE" >&2; exit 2; }
saved="${1%/}/${2#/}" live=$2 list=$3
[ -e "$saved" ] || { echo "$saved gibt es nicht: im Stand der Sicherung ist $live nicht enthalten" >&2; exit 1; }
mkdir -p "$(dirname "$list")"
if [ ! -e "$live" ]; then
    echo "$live fehlt ganz" >"$list"
    if [ -d "$saved" ]; then find "$saved" -type f | wc -l | sed 's/$/ Dateien kommen zurück/' >>"$list"; fi
else
    code=0
    LC_ALL=C diff --recursive --brief --no-dereference "$saved" "$live" >"$list" || code=$?
    [ "$code" -le 1 ] || { echo "der Vergleich ist gescheitert" >&2; exit 1; }
    [ -s "$list" ] || echo "kein Unterschied" >"$list"
fi
head -n 40 "$list"
lines=$(wc -l <"$list")
[ "$lines" -le 40 ] || echo "… und $((lines - 40)) weitere, siehe $list"
