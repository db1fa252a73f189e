#!/bin/sh
# pace STAMP PROGRAM...: become PROGRAM, but not twice within a second under the same supervisord.
# supervisord with startsecs=0 starts a crashed program again at once, some 300 times a second. A new supervisord is not made to
# wait: it may have a program to take over, and a signal that came during the pause would not reach that.
stamp=$1
shift
now=$(date +%s)
parent=0
last=0
if [ -r "$stamp" ]; then read -r parent last < "$stamp"; fi
case $last in '' | *[!0-9]*) last=0 ;; esac
if [ "$parent" = "$PPID" ] && [ "$((now - last))" -ge 0 ] && [ "$((now - last))" -le 1 ]; then
  sleep 1
  now=$((now + 1))
fi
echo "$PPID $now" > "$stamp"
exec "$@"
