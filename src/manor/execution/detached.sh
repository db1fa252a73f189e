#!/bin/sh
# Runs one program so that it outlives whoever asked for it, and keeps log, pid and exit code in a folder.
# Usage: detached.sh FOLDER KEY TIMEOUT_SECONDS ARGV…        (docs/detached-steps.md)
#
# Returns at once. The wrapper behind it prints `started` or `again`, then lets go of stdin, stdout and stderr.
# FOLDER/pid        the wrapper: pid, start time in clock ticks, boot id; in the next line the key. Made by link(2), which fails if it is
#                   there: nothing starts twice. FOLDER/pid.PID is the same file; whoever asked takes that name away, as to start `rm`
#                   takes longer than to start many a program
# FOLDER/log        all that the program writes
# FOLDER/timed_out  is there if the time was up
# FOLDER/exit       the exit code (128 + signal) and a newline; without the newline it does not count
# FOLDER/input      if there, the program's standard input; taken away once it is open
# TERM to the wrapper ends the program and all it started: TERM, 5 s, KILL.
set -u

if [ "$1" != --inside ]; then
    setsid sh "$0" --inside "$@" &
    exit 0
fi
folder=$2 key=$3 limit=$4
shift 4

look_at() { # sets state, parent and start (22nd field of stat; those after "(name) " begin with the third); fails if there is no such process
    { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 1
    # shellcheck disable=SC2086 # the fields are words
    set -- ${stat##*) }
    state=$1 parent=$2
    shift 19
    start=$1
}

look_at $$ || exit 1
my_start=$start
read -r boot < /proc/sys/kernel/random/boot_id
printf '%s %s %s\n%s' $$ "$my_start" "$boot" "$key" > "$folder/pid.$$" || exit 1
ln "$folder/pid.$$" "$folder/pid" 2> /dev/null
claimed=$?
if [ $claimed -ne 0 ]; then
    rm -f "$folder/pid.$$"
    [ -e "$folder/pid" ] && echo again && exit 0
    echo "cannot write in $folder"
    exit 1
fi
trap '' PIPE         # whoever asked may be gone by now; that is no reason not to start
echo started 2> /dev/null
trap - PIPE

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
