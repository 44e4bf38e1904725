#!/bin/sh
# Zeigt die Warteschlange des Mailservers, hält sie an oder gibt sie frei; Postfix und Exim.
#
#   mail-queue.sh show|hold|release
#
# Wiederholbar; es geht nichts verloren, angehaltene Mails bleiben liegen. Ohne Mailserver geschieht nichts.
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 1 ] || { echo "Aufruf: mail-queue.sh show|hold|release" >&2; exit 2; }
act=$1
case $act in
    show | hold | release) ;;
    *) echo "Aufruf: mail-queue.sh show|hold|release" >&2; exit 2 ;;
esac

exim_all() {
    # Jede Mail der Schlange einzeln; wenige Nummern je Aufruf.
    exim4 -bp | awk 'NF >= 4 && $3 ~ /-/ {print $3}' | xargs -r -n 50 exim4 "$1"
}
if command -v postsuper >/dev/null 2>&1; then
    case $act in
        show) postqueue -p | tail -n 60 ;;
        hold) postsuper -h ALL ;;
        release) postsuper -H ALL ;;
    esac
elif command -v exim4 >/dev/null 2>&1; then
    case $act in
        show) exim4 -bpc; exim4 -bp | tail -n 60 ;;
        hold) exim_all -Mf ;;
        release) exim_all -Mt ;;
    esac
else
    echo "auf dieser Maschine ist weder Postfix noch Exim: es gibt keine Warteschlange"
fi
