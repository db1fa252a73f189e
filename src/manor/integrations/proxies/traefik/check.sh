#!/bin/sh
# Traefik has no checker: start a throw-away instance on these files and read what it says.
# check.sh ETC STATE   exit 0: accepted; 1: refused, with the reasons on standard output.
# It listens on 127.0.0.1, as the files may be another host's.
# Bounded: at most 3 attempts to find free ports, 8 s in all; the instance is always ended.
set -u
etc=$1
state=$2
address=127.0.0.1
work=$(mktemp -d "${TMPDIR:-/tmp}/manor-traefik-check.XXXXXX") || exit 1
pid=
finish() {
    if [ -n "$pid" ]; then
        kill -KILL "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

plugin=$work/plugins-local/src/manor/pages
mkdir -p "$work/watched" "$plugin" || exit 1
cp "$etc/pages.go" "$plugin/pages.go" || exit 1
cp "$etc/pages.yml" "$plugin/.traefik.yml" || exit 1
cp "$etc/dynamic.yaml" "$work/watched/_estate.yaml" || exit 1
for initial in "$etc"/initial-*.yaml; do
    [ -e "$initial" ] || continue
    name=${initial##*/initial-}
    if [ -e "$state/$name" ]; then cp "$state/$name" "$work/watched/$name"; else cp "$initial" "$work/watched/$name"; fi || exit 1
done

# The same static file, but every entry point on a port of its own and no line in the tier's logs.
prepare() {
    awk -v address="$address" -v port="$1" -v work="$work" '
        /^    address: /   { print "    address: \"" address ":" port++ "\""; next }
        /^  filePath: /    { print "  filePath: " work "/" (seen++ ? "access" : "log"); next }
        /^  level: /       { print "  level: WARN"; next }
        /^    directory: / { print "    directory: " work "/watched"; next }
        { print }' "$etc/traefik.yaml" >"$work/traefik.yaml"
}

ask() { curl -s -m 2 --noproxy '*' "http://$address:$admin/api/$1"; }

marker=$(grep -o 'manor\.rendered-[0-9a-f]*' "$etc/dynamic.yaml" | head -n 1)
attempt=0
loaded=
seed=$$
while [ "$attempt" -lt 3 ] && [ -z "$loaded" ]; do
    attempt=$((attempt + 1))
    port=$((20000 + (seed * 16 + attempt * 4096) % 12000))
    admin=$port # the admin entry point is the first one in the file
    prepare "$port"
    : >"$work/log"
    (cd "$work" && exec traefik --configfile="$work/traefik.yaml") >"$work/out" 2>&1 &
    pid=$!
    tries=0
    while [ "$tries" -lt 40 ]; do
        tries=$((tries + 1))
        if ! kill -0 "$pid" 2>/dev/null; then break; fi
        # Its own provider answers before the file's is in; this router is the file's. Another check may have been faster on this port.
        if ask "http/routers/${marker:-manor.404}@file" 2>/dev/null | grep -q '"status"'; then
            sleep 0.05
            if kill -0 "$pid" 2>/dev/null; then loaded=yes; fi
            break
        fi
        if grep -q ' ERR .*provider' "$work/log" 2>/dev/null; then loaded=failed; break; fi
        sleep 0.05
    done
    if [ -z "$loaded" ] && ! grep -q 'address already in use' "$work/out" "$work/log" 2>/dev/null; then break; fi
    if [ -z "$loaded" ]; then kill -KILL "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; pid=; fi
done

bad=0
# Removing the colour codes that Traefik writes when it logs to a terminal's format.
problems=$(sed 's/\x1b\[[0-9;]*m//g' "$work/log" "$work/out" 2>/dev/null | grep -E ' (ERR|FTL|PNC) |^(panic|command traefik error|[0-9/]+ [0-9:]+ command traefik error)|already configured' | sed 's/^[0-9T:Z+-]* //; s#'"$work"'/watched/##g; s#'"$work"'/##g' | sort -u)
if [ -n "$problems" ]; then printf '%s\n' "$problems"; bad=1; fi
if [ "$loaded" = yes ]; then
    for kind in routers services middlewares; do
        # One object a line; only the names and reasons of those that it disabled.
        disabled=$(ask "http/$kind?status=disabled&per_page=1000" | sed 's/"provider":"file"/\n/g' | grep -o '"error":.*"name":"[^"]*"' | cut -c1-600)
        if [ -n "$disabled" ] && [ "$bad" -eq 0 ]; then printf '%s: %s\n' "$kind" "$disabled"; bad=1; fi
    done
elif [ "$bad" -eq 0 ]; then
    echo "traefik did not load these files in time"
    cat "$work/out" "$work/log"
    bad=1
fi
exit "$bad"
