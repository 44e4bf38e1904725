#!/bin/sh
# Spielt das neueste gültige Zertifikat mit dem passenden Schlüssel ein.
#
#   install-certificate.sh QUELLE ZERTIFIKAT SCHLÜSSEL NAME TAGE
#
#   QUELLE      Ordner mit fullchain*.pem und privkey*.pem (auch: *.crt, *.key)
#   ZERTIFIKAT  die Datei, die der Webserver liest (mit Zwischenzertifikaten)
#   SCHLÜSSEL   die Datei mit dem Schlüssel, die der Webserver liest
#   NAME        der Name, für den das Zertifikat gelten muss
#   TAGE        so lange muss es mindestens noch gelten
#
# Wiederholbar: was schon richtig liegt, bleibt. Geprüft werden Laufzeit, Name und ob der Schlüssel passt; nginx -t prüft
# das Letzte nicht. Eigentümer und Rechte der bisherigen Dateien bleiben.
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein
umask 077

[ "$#" -eq 5 ] || { echo "Aufruf: install-certificate.sh QUELLE ZERTIFIKAT SCHLÜSSEL NAME TAGE" >&2; exit 2; }
source=${1%/} certificate=$2 key=$3 name=$4 days=$5
case $days in
    '' | *[!0-9]*) echo "TAGE muss eine Zahl sein" >&2; exit 2 ;;
esac
command -v openssl >/dev/null 2>&1 || { echo "openssl fehlt: apt-get install openssl" >&2; exit 127; }

lasts() { openssl x509 -in "$1" -noout -checkend $((days * 86400)) >/dev/null 2>&1; }
named() { openssl x509 -in "$1" -noout -checkhost "$name" 2>/dev/null | grep -q 'does match'; }
of_certificate() { openssl x509 -in "$1" -noout -pubkey 2>/dev/null; }
of_key() { openssl pkey -in "$1" -pubout 2>/dev/null; }
fits() { wanted=$(of_certificate "$1"); [ -n "$wanted" ] && [ "$wanted" = "$(of_key "$2")" ]; }
good() { [ -r "$1" ] && [ -r "$2" ] && lasts "$1" && named "$1" && fits "$1" "$2"; }
ends() { date -u -d "$(openssl x509 -in "$1" -noout -enddate | cut -d= -f2)" +%s; }

best='' best_key='' best_end=0
for one in "$source"/fullchain*.pem "$source"/*.crt "$source"/cert*.pem "$certificate"; do
    [ -r "$one" ] || continue
    for with in "$source"/privkey*.pem "$source"/*.key "$key"; do
        good "$one" "$with" || continue
        if [ "$(ends "$one")" -gt "$best_end" ]; then
            best=$one best_key=$with best_end=$(ends "$one")
        fi
    done
done
if [ -z "$best" ]; then
    echo "weder in $source noch in $certificate liegt ein Zertifikat für $name, das noch $days Tage gilt und dessen" \
        "Schlüssel passt" >&2
    exit 1
fi

place() {
    # Erst daneben schreiben, dann in einem Zug tauschen. Ein symbolischer Link bleibt einer.
    file=$(readlink -f "$2")
    [ "$(readlink -f "$1")" != "$file" ] || return 0
    if [ -e "$file" ] && cmp -s "$1" "$file"; then return 0; fi
    draft="$file.neu-$$"
    cat "$1" >"$draft"
    if [ -e "$file" ]; then
        chown --reference="$file" "$draft"
        chmod --reference="$file" "$draft"
        cp -p "$file" "$file.alt"
    else
        chmod "$3" "$draft"
    fi
    mv -f "$draft" "$file"
    echo "eingespielt: $file"
}
place "$best_key" "$key" 0600
place "$best" "$certificate" 0644
openssl x509 -in "$certificate" -noout -subject -issuer -enddate
