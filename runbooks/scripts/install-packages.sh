#!/bin/sh
# Installiert die Pakete einer Liste (eines je Zeile, # ist ein Kommentar), soweit sie fehlen.
#
#   install-packages.sh LISTE
#
# Die Liste entsteht auf dem alten Server mit: apt-mark showmanual > LISTE. Wiederholbar. Ohne Liste geschieht nichts.
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 1 ] || { echo "Aufruf: install-packages.sh LISTE" >&2; exit 2; }
list=$1
if [ ! -f "$list" ]; then
    echo "$list gibt es nicht: die Pakete wurden von Hand installiert, oder es ist nachzuholen"
    exit 0
fi
missing=''
while read -r package _; do
    case $package in
        '' | '#'*) continue ;;
        *[!a-z0-9+.:-]*) echo "kein Paketname: $package" >&2; exit 2 ;;
    esac
    state=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$state" = 'install ok installed' ] || missing="$missing $package"
done <"$list"
if [ -z "$missing" ]; then
    echo "alle Pakete der Liste sind da"
    exit 0
fi
echo "es fehlen:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086 # die Namen sind oben geprüft und enthalten keine Leerzeichen
apt-get -qq -y --no-install-recommends install $missing
