#!/bin/sh
# Setzt die Seriennummer einer Zone hoch, damit die anderen Nameserver den zurückgespielten Stand holen.
#
#   raise-serial.sh ZONENDATEI MINDESTENS VERMERK
#
#   MINDESTENS  die höchste Seriennummer, die irgendein Nameserver gerade nennt (0: unbekannt)
#   VERMERK     Datei, die es am Ende gibt; ist sie schon da, geschieht nichts
#
# Die neue Nummer ist JJJJMMTT01 oder, wenn das nicht reicht, die höchste bekannte plus eins.
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 3 ] || { echo "Aufruf: raise-serial.sh ZONENDATEI MINDESTENS VERMERK" >&2; exit 2; }
zone=$1 least=$2 memo=$3
case $least in
    '' | *[!0-9]*) echo "MINDESTENS muss eine Zahl sein" >&2; exit 2 ;;
esac
[ -f "$zone" ] || { echo "$zone gibt es nicht" >&2; exit 1; }
if [ -e "$memo" ]; then
    echo "schon geschehen: $(cat "$memo")"
    exit 0
fi
# Die erste Zahl nach SOA, Kommentare überlesen.
old=$(sed 's/;.*//' "$zone" | tr '\n()' '   ' | sed -n 's/.*[[:space:]]SOA[[:space:]]\{1,\}[^[:space:]]\{1,\}[[:space:]]\{1,\}[^[:space:]]\{1,\}[[:space:]]\{1,\}\([0-9]\{1,10\}\).*/\1/p')
[ -n "$old" ] || { echo "in $zone steht kein SOA mit Seriennummer" >&2; exit 1; }
new=$(date -u +%Y%m%d01)
for known in "$old" "$least"; do
    [ "$new" -gt "$known" ] || new=$((known + 1))
done
draft="$zone.neu-$$"
cp -p "$zone" "$draft"
awk -v old="$old" -v new="$new" '!done && $0 ~ "(^|[^0-9])" old "([^0-9]|$)" {sub(old, new); done = 1} {print}' "$zone" >"$draft"
mkdir -p "$(dirname "$memo")"
mv "$draft" "$zone"
echo "$old -> $new" >"$memo"
cat "$memo"
