#!/bin/sh
# Start Traefik on its rendered files: start.sh ETC STATE
# The folder it watches is STATE: one link to the rendered file, and a file for each service that says which slots take traffic.
# A service that has no such file yet gets the one of the estate, in which nothing is ready.
set -eu
etc=$1
state=$2
mkdir -p "$state"
for initial in "$etc"/initial/*.yaml; do
    [ -e "$initial" ] || continue
    name=${initial##*/}
    [ -e "$state/$name" ] || { cp "$initial" "$state/.$name.new" && mv "$state/.$name.new" "$state/$name"; }
done
ln -sfn "$etc/dynamic.yaml" "$state/_estate.yaml"
cd "$etc"
exec traefik --configfile="$etc/traefik.yaml"
