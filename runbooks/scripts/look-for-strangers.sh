#!/bin/sh
# Sucht Spuren eines Einbruchs oder einer Verschlüsselung und ändert nichts. Ein Fund ist ein Anlass, hinzusehen, kein Beweis.
#
#   look-for-strangers.sh WEBROOT UPLOADS TAGE ABLAGE
#
#   WEBROOT  Ordner der Website
#   UPLOADS  Ordner, in den Besucher hochladen; dort gehört kein PHP hin
#   TAGE     was in so vielen Tagen geändert wurde, wird aufgelistet
#   ABLAGE   Ordner für die Listen
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein
umask 077

[ "$#" -eq 4 ] || { echo "Aufruf: look-for-strangers.sh WEBROOT UPLOADS TAGE ABLAGE" >&2; exit 2; }
root=$1 uploads=$2 days=$3 output=$4
case $days in
    '' | *[!0-9]*) echo "TAGE muss eine Zahl sein" >&2; exit 2 ;;
esac
mkdir -p "$output"

list() {
    # Name der Liste, was sie bedeutet, dann die Suche.
    name=$1 meaning=$2
    shift 2
    "$@" >"$output/$name.txt" 2>/dev/null || true
    echo "$(wc -l <"$output/$name.txt") $meaning ($name.txt)"
}

if [ -d "$uploads" ]; then
    list php-in-uploads "PHP-Dateien unter den Uploads" \
        find "$uploads" -type f '(' -iname '*.php*' -o -iname '*.phtml' -o -iname '*.phar' ')' -ls
fi
if [ -d "$root" ]; then
    list geaendert "Dateien, die in $days Tagen geändert wurden (Inhalt oder Rechte)" \
        find "$root" -type f '(' -mtime "-$days" -o -ctime "-$days" ')' -ls
    list rueckdatiert "Dateien, deren Inhalt älter scheint als ihre letzte Änderung am Eintrag" \
        find "$root" -type f -ctime "-$days" ! -mtime "-$days" -ls
    list verschluesselt "Dateien mit Endungen, wie Verschlüsseler sie anhängen, oder mit einer Forderung" \
        find "$root" -type f '(' -iname '*.locked' -o -iname '*.encrypted' -o -iname '*.crypt' -o -iname '*.enc' \
        -o -iname '*readme*restore*' -o -iname '*decrypt*' -o -iname '*ransom*' -o -iname '*recover*files*' ')' -ls
    list verdaechtiger-code "PHP-Dateien mit Mustern, die in Hintertüren üblich sind" \
        grep -rIlE --include='*.php' \
        '(eval|assert)[[:space:]]*\([[:space:]]*(base64_decode|gzinflate|str_rot13|\$_(GET|POST|REQUEST|COOKIE))|(shell_exec|passthru|system)[[:space:]]*\([[:space:]]*\$_' \
        "$root"
    list offen "Dateien, die jeder ändern darf" find "$root" -type f -perm -0002 -ls
fi
list schluessel "Dateien mit erlaubten SSH-Schlüsseln" find /root /home -maxdepth 3 -name authorized_keys -ls
list cron "Cron-Dateien, die in $days Tagen geändert wurden" \
    find /etc/cron.d /etc/cron.daily /etc/cron.hourly /etc/crontab /var/spool/cron -type f -ctime "-$days" -ls
list konten "Konten mit einer Anmeldung" grep -vE '(nologin|false|sync)$' /etc/passwd

cd "$output"
sha256sum ./*.txt >SHA256SUMS
echo "die Listen liegen in $output, ihre Prüfsummen in SHA256SUMS"
