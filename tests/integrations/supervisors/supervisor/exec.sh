#!/bin/sh
# A small stand-in for the host's wrapper (docs/execution.md): exec MARK LOG [--wanted F] [--cwd D] [...] -- PROGRAM...
mark=$1 log=$2
shift 2
wanted='' cwd=''
while [ "$1" != -- ]; do
  case $1 in --wanted) wanted=$2 ;; --cwd) cwd=$2 ;; esac
  shift 2
done
shift
stop=''
trap 'stop=yes' TERM
exec >>"$log" 2>&1 </dev/null
for environ in $(grep -lzsx -- "MANOR_INSTANCE=$mark" /proc/[0-9]*/environ); do
  pid=${environ#/proc/}
  pid=${pid%/environ}
  trap 'kill -TERM "$pid"' TERM
  [ -z "$stop" ] || kill -TERM "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  exit 0
done
if [ -n "$wanted" ] && [ ! -e "$wanted" ]; then exit 0; fi
if [ -n "$cwd" ]; then cd "$cwd" || exit 66; fi
[ -z "$stop" ] || exit 0
trap - TERM
MANOR_INSTANCE=$mark
export MANOR_INSTANCE
exec "$@"
