#!/bin/sh
# Starts, stops and asks after a program that writes its process into a file, where no systemd runs.
#
#   service.sh PIDFILE LOG start|stop|reload|status PROGRAM [ARGUMENT]...
set -eu
pidfile=$1 log=$2 act=$3
shift 3

process() { cat "$pidfile" 2>/dev/null || true; }
lives() { [ -n "$1" ] && grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null; }

case $act in
    status) lives "$(process)" ;;
    reload) kill -HUP "$(process)" ;;
    start)
        if lives "$(process)"; then exit 0; fi
        rm -f "$pidfile"
        setsid "$@" >>"$log" 2>&1 </dev/null &
        for _ in $(seq 300); do
            if lives "$(process)"; then exit 0; fi
            if ! lives "$!"; then echo "$1 ended at once, see $log" >&2; exit 1; fi
            sleep 0.1
        done
        echo "$1 does not start within 30 s, see $log" >&2
        exit 1 ;;
    stop)
        process=$(process)
        if lives "$process"; then kill -TERM "$process"; fi
        for _ in $(seq 200); do
            lives "$process" || break
            sleep 0.1
        done
        if lives "$process"; then kill -KILL "-$process"; fi
        rm -f "$pidfile" ;;
esac
