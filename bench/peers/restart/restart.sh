#!/bin/sh
# Restarts a program on one host after another, as scripts written by hand do: the next host's turn comes when this one answers again.
# usage: restart.sh PROGRAM PATH SOCKET=URL ...        (SOCKET: of the host's supervisord; URL: where the host's web server answers for the program)
# http://supervisord.org/running.html#supervisorctl-actions
set -eu
program=$1 path=$2
shift 2
for host in "$@"; do
    "${SUPERVISORCTL:-supervisorctl}" -s "unix://${host%%=*}" restart "$program"
    until curl -fsS -o /dev/null --max-time 2 "${host#*=}$path" 2>/dev/null; do sleep 0.05; done
done
