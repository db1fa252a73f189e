#!/bin/sh
# Starts a program of an instance in place of itself, and never a second one beside a living first.      (docs/execution.md)
# Usage: exec.sh INSTANCE LOGFILE [--env-file FILE] [--wanted FILE] [--cwd DIR] [--limit-memory KIB] [--limit-files N] [--headless SIGNAL] -- ARGV…
#        exec.sh INSTANCE LOGFILE --end SIGNAL --within SECONDS --
#
# LOGFILE         gets all output: nothing is written into the pipes of a supervisor, whose death would take the program with it
# --env-file      lines KEY=value, taken as they are, nothing evaluated
# --wanted        without this file nothing is started: ends with 0 (a program that lives already is waited for all the same)
# The program carries MANOR_INSTANCE. While one with the same value lives, or a process of its group (some wipe their environment), none is started:
# the wrapper waits for its end, passes signals on to it, and ends with it: with 75 if the program is still wanted, so that it is started again. A wrapper that decides or waits carries MANOR_WAITING too;
# of two, the elder decides and the younger waits: no lock that could go stale, no file descriptor that a program would inherit.
# --headless      what a first process that was killed left of its group gets this signal: workers that serve on could never be told anything again
# --end           starts nothing: whatever lives of the instance gets the signal and after so many seconds KILL; ends with 1 if something lives even then
# Beside the log, `.NAME.start` keeps pid, start time, boot id, process group, uptime and instance of the last start, and `.NAME.from`, unless it is there, how
# many bytes the log had then: what stands after them is this program's. Started again within 1 s, it waits 1 s.
set -u
# Should we have inherited variables of our own names: they would stay exported and reach the program with our values.
unset CDPATH boot early end env_file file files folder found group headless holders instance last_boot last_group last_instance last_pid last_start last_time log memory \
    my_group my_start name now parent pid rest roots start start_file stat state tries uptime waiting wanted within

instance=$1 log=$2
if [ "${MANOR_WAITING:-}" != $$ ] || [ "${MANOR_INSTANCE:-}" != "$instance" ]; then
    exec env "MANOR_INSTANCE=$instance" MANOR_WAITING=$$ sh "$0" "$@"
fi
shift 2

env_file='' wanted='' folder='' memory='' files='' headless='' end='' within=0
while [ "$1" != -- ]; do
    case $1 in
        --env-file) env_file=$2 ;;
        --wanted) wanted=$2 ;;
        --cwd) folder=$2 ;;
        --limit-memory) memory=$2 ;;
        --limit-files) files=$2 ;;
        --headless) headless=$2 ;;
        --end) end=$2 ;;
        --within) within=$2 ;;
        *) echo "unknown option $1" >&2; exit 64 ;;
    esac
    shift 2
done
shift
say() { printf 'manor: %s: %s\n' "$instance" "$1"; }

case $log in */*) start_file=${log%/*}/.${log##*/}.start ;; *) start_file=.$log.start ;; esac
read -r boot < /proc/sys/kernel/random/boot_id

# Sets state, parent, group and start of a process; fails if there is none. The fields after "(name) " of stat begin with the third.
look_at() {
    { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 1
    # shellcheck disable=SC2086 # the fields are words
    set -- ${stat##*) }
    state=$1 parent=$2 group=$3
    shift 19
    start=$1
}
look_at $$ || exit 70
my_start=$start my_group=$group

is_elder() { [ "$start" -lt "$my_start" ] || { [ "$start" -eq "$my_start" ] && [ "$1" -lt $$ ]; }; }

# Those of the last start's group, unless its number has come to be another's.
group_of_last_start() {
    { read -r last_pid last_start last_boot last_group rest last_instance < "$start_file"; } 2> /dev/null || return 0
    [ "$last_instance" = "$instance" ] && [ "$last_boot" = "$boot" ] && [ "$last_pid" != $$ ] || return 0
    if look_at "$last_pid"; then
        [ "$start" = "$last_start" ] || return 0
        echo "$last_pid"
    fi
    [ "$last_group" = "$last_pid" ] || return 0
    grep -shE "^[0-9]+ \(.*\) [^Z] [0-9]+ $last_group " /proc/[0-9]*/stat | while read -r pid rest; do echo "$pid"; done
}

# Sets holders: every live process of the instance that came before us. The order matters: an environment is wiped only after the start was noted.
find_holders() {
    found=$(grep -szlxF "MANOR_INSTANCE=$instance" /proc/[0-9]*/environ)
    waiting=" $(grep -szlE '^MANOR_WAITING=' $found /dev/null | tr '\n' ' ')"
    holders=' '
    for file in $found; do
        pid=${file#/proc/}
        pid=${pid%/environ}
        [ "$pid" != $$ ] && look_at "$pid" && [ "$state" != Z ] || continue
        case $waiting in *" $file "*) is_elder "$pid" || continue ;; esac
        holders="$holders$pid "
    done
    for pid in $(group_of_last_start); do
        case $holders in *" $pid "*) continue ;; esac
        look_at "$pid" && [ "$state" != Z ] && holders="$holders$pid "
    done
}

# Sets roots: the holders whose parent is none of them; a signal to a child goes round its master.
find_roots() {
    roots=' '
    for pid in $holders; do
        look_at "$pid" || continue
        case $holders in *" $parent "*) ;; *) roots="$roots$pid " ;; esac
    done
}

pass_on() {
    find_roots
    # shellcheck disable=SC2086 # numbers
    kill "-$1" $roots 2> /dev/null
}

is_headless() {
    [ -n "$headless" ] || return 1
    { read -r last_pid last_start last_boot rest < "$start_file"; } 2> /dev/null || return 1
    [ "$last_boot" = "$boot" ] && ! { look_at "$last_pid" && [ "$start" = "$last_start" ] && [ "$state" != Z ]; }
}

is_any_alive() {
    for pid in $holders; do
        look_at "$pid" && [ "$state" != Z ] && return 0
    done
    return 1
}

# Waits until nothing of the instance lives, at most so many tenths of a second.
is_gone_within() {
    tries=$1
    while find_holders; [ "$holders" != ' ' ]; do
        [ "$tries" -gt 0 ] || return 1
        tries=$((tries - 1))
        sleep 0.1
    done
}

if [ -n "$end" ]; then
    find_holders
    [ "$holders" != ' ' ] || exit 0
    say "still lives (pid$holders); it gets $end" >> "$log"
    pass_on "$end"
    is_gone_within $((within * 10)) && exit 0
    say "still lives (pid$holders); it gets KILL" >> "$log"
    # shellcheck disable=SC2086 # numbers
    kill -KILL $holders 2> /dev/null
    is_gone_within 50 && exit 0
    echo "pid$holders of $instance cannot be ended" >&2
    exit 1
fi

# A signal that comes before we know whom to pass it on to is kept: a supervisor that has just come back may stop us at once.
early=''
for name in TERM INT QUIT; do
    # shellcheck disable=SC2064 # the name is to be put in now
    trap "early=$name" $name
done
find_holders
[ "$holders" != ' ' ] || [ -z "$wanted" ] || [ -e "$wanted" ] || exit 0
exec < /dev/null >> "$log" 2>&1 || exit 73
if [ "$holders" != ' ' ]; then
    for name in TERM INT QUIT HUP USR1 USR2; do
        # shellcheck disable=SC2064 # the name is to be put in now
        trap "pass_on $name" $name
    done
    say "lives already (pid$holders); waiting for its end"
    [ -z "$early" ] || pass_on "$early"
    while [ "$holders" != ' ' ]; do
        while is_any_alive; do
            if is_headless; then
                say "its first process was killed; what is left of it gets $headless"
                pass_on "$headless"
                headless=''
            fi
            sleep 0.2 &
            wait $!
        done
        find_holders
    done
    say 'it has ended'
    [ -n "$wanted" ] && [ -e "$wanted" ] && exit 75
    exit 0
fi
trap - TERM INT QUIT
[ -z "$early" ] || exit 0

# The time since boot in hundredths of a second; 1xx - 100, because a leading zero would make it octal.
read -r uptime rest < /proc/uptime
now=$((${uptime%.*} * 100 + 1${uptime#*.} - 100))
if { read -r last_pid last_start last_boot last_group last_time last_instance < "$start_file"; } 2> /dev/null &&
    [ "$last_instance" = "$instance" ] && [ "$last_boot" = "$boot" ] && [ $((now - last_time)) -lt 100 ]; then
    say 'was started less than a second ago; waiting a second'
    sleep 1
    now=$((now + 100))
fi
echo "$$ $my_start $boot $my_group $now $instance" > "$start_file" || exit 73
[ -e "${start_file%start}from" ] || wc -c < "$log" > "${start_file%start}from" || exit 73

[ -z "$folder" ] || cd -P -- "$folder" || exit 72
[ -z "$files" ] || ulimit -n "$files" || exit 71
[ -z "$memory" ] || ulimit -v "$memory" || exit 71

# Last, as PATH and the like are meant for the program; any name of ours may be in the file, so all that we still need is in $1 and $2.
set -- "$instance" "$env_file" "$@"
if [ -n "$2" ]; then
    exec 3< "$2" || exit 66
    while IFS= read -r MANOR_LINE <&3 || [ -n "$MANOR_LINE" ]; do
        case $MANOR_LINE in
            '') continue ;;
            [A-Za-z_]*=*) ;;
            *) printf 'manor: %s: %s: a line is not KEY=value\n' "$1" "$2"; exit 78 ;;
        esac
        case ${MANOR_LINE%%=*} in
            *[!A-Za-z0-9_]*) printf 'manor: %s: %s: %s is no name of a variable\n' "$1" "$2" "${MANOR_LINE%%=*}"; exit 78 ;;
        esac
        export "$MANOR_LINE"
    done
    exec 3<&-
fi
unset MANOR_LINE MANOR_WAITING
MANOR_INSTANCE=$1
shift 2
exec "$@"
