#!/bin/sh
# Sperrt die Adressen, von denen in den letzten Zeilen des Protokolls mehr Anfragen kamen als erlaubt.
#
#   deny-addresses.sh PROTOKOLL ZEILEN GRENZE AUSNAHMEN SPERRDATEI nginx|apache
#
#   AUSNAHMEN   Adressen, die nie gesperrt werden, durch Komma getrennt (eigene, Überwachung, Zahlungsanbieter)
#   SPERRDATEI  wird vom Webserver eingebunden (nginx: include im server-Block; Apache: Include in <RequireAll>)
#
# Wiederholbar: was schon gesperrt ist, bleibt es. Zum Aufheben die Datei leeren und den Webserver neu laden.
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 6 ] || { echo "Aufruf: deny-addresses.sh PROTOKOLL ZEILEN GRENZE AUSNAHMEN SPERRDATEI nginx|apache" >&2; exit 2; }
log=$1 lines=$2 limit=$3 except=",$4," file=$5 kind=$6
case $lines$limit in
    *[!0-9]*) echo "ZEILEN und GRENZE müssen Zahlen sein" >&2; exit 2 ;;
esac
case $kind in
    nginx) before='deny ' after=';' ;;
    apache) before='Require not ip ' after='' ;;
    *) echo "nginx oder apache" >&2; exit 2 ;;
esac
[ -d "$(dirname "$file")" ] || { echo "den Ordner von $file gibt es nicht" >&2; exit 2; }
draft="$file.neu-$$"
touch "$file"
cp -p "$file" "$draft"
if [ -r "$log" ]; then
    tail -n "$lines" "$log" | awk -v limit="$limit" '{count[$1]++} END {for (one in count) if (count[one] > limit) print one}' |
        grep -E '^[0-9a-fA-F.:]+$' | sort | while read -r address; do
        case $except in
            *",$address,"*) continue ;;
        esac
        grep -qxF "$before$address$after" "$draft" || { echo "$before$address$after" >>"$draft"; echo "gesperrt: $address"; }
    done
fi
mv "$draft" "$file"
echo "$(wc -l <"$file") Adressen sind in $file gesperrt"
