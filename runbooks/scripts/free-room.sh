#!/bin/sh
# Schafft Platz auf einem Dateisystem, ohne Daten anzufassen: Paket-Zwischenspeicher, Journal und rotierte Protokolle.
# Datenbanken, Binärprotokolle und laufende Protokolle bleiben immer liegen.
#
#   free-room.sh PFAD PROTOKOLLE TAGE DATENBANK
#
#   PFAD        ein Pfad auf dem vollen Dateisystem
#   PROTOKOLLE  Ordner mit den Protokollen
#   TAGE        rotierte Protokolle, die älter sind, werden gelöscht; 0 heißt alle
#   DATENBANK   Datenverzeichnis der Datenbank; darin wird nichts gelöscht
#
# Wiederholbar. Braucht selbst keinen freien Platz (deshalb keine Here-Dokumente und keine temporären Dateien).
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 4 ] || { echo "Aufruf: free-room.sh PFAD PROTOKOLLE TAGE DATENBANK" >&2; exit 2; }
volume=$1 logs=$2 days=$3 database=${4%/}
[ -e "$volume" ] || { echo "$volume gibt es nicht" >&2; exit 2; }
case $logs in
    / | /bin | /boot | /dev | /etc | /home | /lib | /proc | /root | /run | /sbin | /srv | /sys | /usr | /var | /var/lib)
        echo "$logs ist kein Ordner für Protokolle" >&2; exit 2 ;;
    /*) ;;
    *) echo "$logs ist kein absoluter Pfad" >&2; exit 2 ;;
esac
case $days in
    '' | *[!0-9]*) echo "TAGE muss eine Zahl sein" >&2; exit 2 ;;
esac
case ${logs%/}/ in
    "$database"/*) echo "$logs liegt im Datenverzeichnis der Datenbank" >&2; exit 2 ;;
esac

show() { df -P "$volume" | tail -n 1; df -Pi "$volume" | tail -n 1; }

echo "vorher:"
show

on_volume() { [ -d "$1" ] && [ "$(stat -c %d "$1")" = "$(stat -c %d "$volume")" ]; }
if on_volume /var/cache/apt/archives && command -v apt-get >/dev/null 2>&1; then
    apt-get clean 2>/dev/null && echo "Paket-Zwischenspeicher geleert" || echo "Paket-Zwischenspeicher: nicht möglich"
fi
if on_volume /var/log/journal && command -v journalctl >/dev/null 2>&1; then
    journalctl --quiet --vacuum-size=200M 2>/dev/null && echo "Journal auf 200 MB gekürzt" || echo "Journal: nicht möglich"
fi

if [ "$days" -eq 0 ]; then set --; else set -- -mmin "+$((days * 1440))"; fi
if [ -d "$logs" ]; then
    echo "rotierte Protokolle, die gelöscht werden:"
    find "$logs" -xdev -type f ! -path "$database/*" \
        '(' -name '*.gz' -o -name '*.xz' -o -name '*.zst' -o -name '*.bz2' -o -name '*.old' \
        -o -name '*.[0-9]' -o -name '*.[0-9][0-9]' -o -name '*.log-20[0-9][0-9][0-9][0-9][0-9][0-9]' ')' \
        "$@" -print -delete
fi

echo "gelöscht, aber von einem Prozess noch offen (Platz wird erst frei, wenn der Dienst neu startet):"
for entry in /proc/[0-9]*/fd/*; do
    target=$(readlink "$entry" 2>/dev/null) || continue
    case $target in
        /*' (deleted)')
            process=${entry#/proc/}
            process=${process%%/*}
            size=$(stat -Lc %s "$entry" 2>/dev/null || echo '?')
            name=$(tr -d '\0' <"/proc/$process/comm" 2>/dev/null || echo '?')
            echo "  $size Bytes: $target (Prozess $process, $name)" ;;
    esac
done

echo "die größten Ordner auf diesem Dateisystem:"
du -xk --max-depth=4 "$volume" 2>/dev/null | sort -rn 2>/dev/null | head -n 15 || true

echo "nachher:"
show
