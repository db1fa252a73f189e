#!/bin/sh
# Runs one program so that it outlives whoever asked for it, and keeps log, pid and exit code in a folder.
# Usage: detached.sh FOLDER TIMEOUT_SECONDS ARGV…            (docs/detached-steps.md)
#
# Is started in a session of its own, and starts nothing before it reads `go` from its standard input: until then whoever asked claims the
# folder for it. Whoever asked may die in between; then the claim itself tells whether to go on.
# FOLDER/pid        the wrapper: pid, start time in clock ticks, boot id; in the next line the key. Made by link(2), which fails if it is
#                   there: nothing starts twice
# FOLDER/log        all that the program writes
# FOLDER/timed_out  is there if the time was up
# FOLDER/exit       the exit code (128 + signal) and a newline; without the newline it does not count
# FOLDER/input      if there, the program's standard input; taken away once it is open
# TERM to the wrapper ends the program and all it started: TERM, 5 s, KILL.
set -u
folder=$1 limit=$2
shift 2

look_at() { # sets state, parent and start (22nd field of stat; those after "(name) " begin with the third); fails if there is no such process
    { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 1
    # shellcheck disable=SC2086 # the fields are words
    set -- ${stat##*) }
    state=$1 parent=$2
    shift 19
    start=$1
}

is_claimed() {
    read -r boot < /proc/sys/kernel/random/boot_id
    { read -r claim < "$folder/pid"; } 2> /dev/null
    [ "${claim:-}" = "$$ $my_start $boot" ]
}

look_at $$ || exit 1
my_start=$start
read -r go || is_claimed || exit 0

input=/dev/null
[ ! -e "$folder/input" ] || input=$folder/input
exec 3< "$input" < /dev/null >> "$folder/log" 2>&1

# Whatever the program starts carries this mark, even what takes a session of its own.
mark=MANOR_DETACHED=$folder

strays() {
    for file in $(grep -szlxF "$mark" /proc/[0-9]*/environ); do
        pid=${file#/proc/}
        kill "-$1" "${pid%/environ}" 2> /dev/null
    done
}

# The program's group by its number only while it is our child: later the number may be another's.
end_group() {
    if look_at "$program" && [ "$parent" = $$ ]; then
        kill "-$1" "-$program" 2> /dev/null || kill "-$1" "$program" 2> /dev/null
    fi
    strays "$1"
}

end_program() {
    trap '' TERM
    interrupted=1
    end_group TERM
    tries=50
    while [ $tries -gt 0 ] && grep -sqzxF "$mark" /proc/[0-9]*/environ; do
        sleep 0.1
        tries=$((tries - 1))
    done
    end_group KILL
}

# What a shell starts in the background ignores INT and QUIT; the program shall not (coreutils 8.31).
setsid env --default-signal=INT,QUIT "$mark" "$@" <&3 3<&- &
program=$!
trap end_program TERM
(
    trap - TERM
    MANOR_TIMER=$folder sleep "$limit" > /dev/null 2>&1 3<&- || exit 0
    : > "$folder/timed_out"
    if look_at $$ && [ "$start" = "$my_start" ] && [ "$state" != Z ]; then kill -TERM $$; else end_program; fi
) &

[ ! -e "$folder/input" ] || rm -f "$folder/input"

# A signal interrupts `wait`, which then gives the signal's code; asked again it gives the program's, or 127 if it had told it already.
code=127
while :; do
    interrupted=
    before=$code
    wait "$program"
    code=$?
    [ -n "$interrupted" ] || break
done
[ "$code" != 127 ] || code=$before
trap '' TERM
printf '%s\n' "$code" > "$folder/exit"
kill -KILL 0        # the timer, its sleep and this wrapper: all that is left of our group (a TERM is lost on a subshell that is just being made)
