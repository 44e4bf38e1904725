#!/bin/sh
# Stellt den Link der laufenden Version auf eine frühere um, in einem Zug.
#
#   switch-release.sh LINK VERSIONEN ZIEL GEMERKT
#
#   LINK       der symbolische Link, dem der Webserver folgt
#   VERSIONEN  der Ordner mit einem Unterordner je Version
#   ZIEL       Name der Version, oder "previous" für die vor der jetzigen
#   GEMERKT    Datei, in der steht, welche Version anfangs lief; sie macht "previous" wiederholbar
set -eu
exec </dev/null # drtool reicht das Skript selbst über die Standardeingabe herein

[ "$#" -eq 4 ] || { echo "Aufruf: switch-release.sh LINK VERSIONEN ZIEL GEMERKT" >&2; exit 2; }
link=$1 releases=${2%/} target=$3 memo=$4
[ -d "$releases" ] || { echo "$releases gibt es nicht" >&2; exit 2; }
if [ -e "$link" ] && [ ! -L "$link" ]; then
    echo "$link ist kein symbolischer Link; diese Anweisung passt nicht: Dateien zurückspielen (13)" >&2
    exit 2
fi

if [ ! -s "$memo" ]; then
    mkdir -p "$(dirname "$memo")"
    [ ! -L "$link" ] || basename "$(readlink -f "$link" || readlink "$link")" >"$memo.neu"
    [ ! -e "$memo.neu" ] || mv "$memo.neu" "$memo"
fi
failed=$(cat "$memo" 2>/dev/null || true)

case $target in
    previous)
        # Die jüngste Version, die älter ist als die gescheiterte; nach Namen, wie Werkzeuge sie mit Datum vergeben.
        target=''
        for folder in "$releases"/*/; do
            [ -d "$folder" ] || continue
            one=$(basename "$folder")
            [ "$one" != "$failed" ] || break
            target=$one
        done
        [ -n "$target" ] || { echo "vor ${failed:-der jetzigen} liegt keine Version in $releases" >&2; exit 1; } ;;
    */* | . | .. | '') echo "ZIEL muss der Name einer Version sein" >&2; exit 2 ;;
esac
[ -d "$releases/$target" ] || { echo "die Version $target gibt es nicht in $releases" >&2; exit 1; }

if [ "$(readlink -f "$link" || true)" = "$(readlink -f "$releases/$target")" ]; then
    echo "$link zeigt schon auf $target"
    exit 0
fi
draft="$link.neu-$$"
ln -s "$releases/$target" "$draft"
mv -T "$draft" "$link"
echo "$link zeigt jetzt auf $target; vorher: ${failed:-unbekannt}"
