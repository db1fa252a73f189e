#!/bin/sh
# Start Traefik on its rendered files: start.sh ETC STATE RUN HEAP_GROWTH
# The folder it watches is STATE: one link to the rendered file, and a file for each service that says which slots take traffic.
# A service that has no such file yet gets the one of the estate, in which nothing is ready. RUN holds the plugin as Traefik wants it.
set -eu
etc=$1
state=$2
run=$3
# https://go.dev/doc/gc-guide#GOGC
export GOGC="${4:-100}"
plugin=$run/plugins-local/src/manor/pages
mkdir -p "$state" "$plugin"
cp "$etc/pages.go" "$plugin/pages.go"
cp "$etc/pages.yml" "$plugin/.traefik.yml"
for initial in "$etc"/initial-*.yaml; do
    [ -e "$initial" ] || continue
    name=${initial##*/initial-}
    [ -e "$state/$name" ] || { cp "$initial" "$state/.$name.new" && mv "$state/.$name.new" "$state/$name"; }
done
ln -sfn "$etc/dynamic.yaml" "$state/_estate.yaml"
cd "$run"
exec traefik --configfile="$etc/traefik.yaml"
