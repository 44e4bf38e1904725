#!/bin/sh
# Kopiert das Datenverzeichnis einer Datenbank als Archiv weg, bevor jemand daran etwas repariert.
#
#   save-datadir.sh DATENVERZEICHNIS ARCHIV
#
# Die Datenbank soll dabei stehen. Das Archiv ist erst da, wenn es ganz ist; daneben liegt seine SHA-256.
# Ist das Verzeichnis weg oder leer, steht das im Archiv-Vermerk: ARCHIV ist dann ein leeres Archiv.
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein
umask 077

[ "$#" -eq 2 ] || { echo "Aufruf: save-datadir.sh DATENVERZEICHNIS ARCHIV" >&2; exit 2; }
data=${1%/} archive=$2
case $data in
    '' | / | /var | /var/lib | /etc | /home) echo "$1 ist kein Datenverzeichnis" >&2; exit 2 ;;
    /*) ;;
    *) echo "$1 ist kein absoluter Pfad" >&2; exit 2 ;;
esac
if [ -e "$archive" ]; then
    echo "$archive gibt es schon; es wird nie überschrieben"
    exit 0
fi
folder=$(dirname "$archive")
mkdir -p "$folder"
if [ ! -d "$data" ] || [ -z "$(ls -A "$data")" ]; then
    echo "$data ist leer oder weg: zu sichern ist nichts"
    tar --create --file "$archive.neu" --files-from /dev/null
else
    needed=$(du -sk "$data" | cut -f1)
    free=$(df -Pk "$folder" | tail -n 1 | awk '{print $4}')
    if [ "$free" -lt $((needed + 102400)) ]; then
        echo "in $folder sind $((free / 1024)) MB frei, gebraucht werden $((needed / 1024 + 100)) MB: Platz schaffen" \
            "(Notfallanweisung 03) oder den Ordner des Laufs auf einen anderen Datenträger legen" >&2
        exit 1
    fi
    # Liefe die Datenbank noch, änderten sich Dateien unter der Hand; tar meldet das mit 1, und die Kopie zählt trotzdem.
    code=0
    tar --create --sparse --numeric-owner --file "$archive.neu" --directory "$(dirname "$data")" "$(basename "$data")" || code=$?
    [ "$code" -le 1 ] || { rm -f "$archive.neu"; echo "das Archiv ist gescheitert ($code)" >&2; exit 1; }
fi
(cd "$folder" && sha256sum "$(basename "$archive").neu" | sed 's/\.neu$//' >"$(basename "$archive").sha256")
sync -f "$archive.neu"
mv "$archive.neu" "$archive"
cat "$archive.sha256"
