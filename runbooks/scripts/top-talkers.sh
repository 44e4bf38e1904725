#!/bin/sh
# Zeigt, wer und was den Webserver belastet: Adressen, Seiten, Programme und Antworten der letzten Zeilen. Ändert nichts.
#
#   top-talkers.sh PROTOKOLL ZEILEN
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 2 ] || { echo "Aufruf: top-talkers.sh PROTOKOLL ZEILEN" >&2; exit 2; }
log=$1 lines=$2
case $lines in
    '' | *[!0-9]*) echo "ZEILEN muss eine Zahl sein" >&2; exit 2 ;;
esac
cat /proc/loadavg
if [ ! -r "$log" ]; then
    echo "$log gibt es nicht; es wird nichts ausgewertet"
    exit 0
fi
most() { sort | uniq -c | sort -rn | head -n 10; }
echo "Zeitraum:"
tail -n "$lines" "$log" | awk 'NR == 1 {first = $4} {last = $4} END {print NR " Anfragen von " first "] bis " last "]"}'
echo "Adressen:"
tail -n "$lines" "$log" | awk '{print $1}' | most
echo "Seiten (ohne Parameter):"
tail -n "$lines" "$log" | awk '{split($7, part, "?"); print part[1]}' | most
echo "Antworten:"
tail -n "$lines" "$log" | awk '{print $9}' | most
echo "Programme:"
tail -n "$lines" "$log" | awk -F'"' '{print $6}' | most
