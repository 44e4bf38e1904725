#!/bin/sh
# Prüft die Einstellungen des Webservers, ohne ihn anzufassen: ein Neustart mit falschen Einstellungen kommt nicht wieder.
#
#   check-config.sh nginx|apache EINSTELLUNGEN
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 2 ] || { echo "Aufruf: check-config.sh nginx|apache EINSTELLUNGEN" >&2; exit 2; }
kind=$1 file=$2
[ -r "$file" ] || { echo "$file gibt es nicht: Einstellungen zurückspielen (Notfallanweisung 13)" >&2; exit 1; }
case $kind in
    nginx) exec nginx -t -c "$file" ;;
    apache) exec apache2ctl -t -f "$file" ;;
    *) echo "nginx oder apache" >&2; exit 2 ;;
esac
