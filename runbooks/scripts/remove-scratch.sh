#!/bin/sh
# Löscht, was dieser Lauf beiseite zurückgespielt hat, und nichts sonst.
#
#   remove-scratch.sh ORDNER LAUF
#
#   ORDNER  wo beiseite zurückgespielt wird
#   LAUF    Name des Laufs; so heißt der Unterordner
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 2 ] || { echo "Aufruf: remove-scratch.sh ORDNER LAUF" >&2; exit 2; }
folder=${1%/} run=$2
case $folder in
    '' | / | /bin | /boot | /dev | /etc | /home | /lib | /proc | /root | /run | /sbin | /sys | /usr)
        echo "$1 ist kein Ordner, in den zurückgespielt wird" >&2; exit 2 ;;
    /*) ;;
    *) echo "$1 ist kein absoluter Pfad" >&2; exit 2 ;;
esac
case $run in
    '' | . | .. | */*) echo "LAUF muss der Name eines Laufs sein" >&2; exit 2 ;;
esac
if [ -L "$folder/$run" ]; then
    echo "$folder/$run ist ein Link und bleibt" >&2
    exit 1
fi
rm -rf -- "${folder:?}/$run"
echo "gelöscht: $folder/$run"
