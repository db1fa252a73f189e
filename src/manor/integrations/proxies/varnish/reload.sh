#!/bin/sh
# Make a running Varnish take its files as they are now: reload.sh WORKDIR FOLDER
# The VCL is loaded under a name made from its content, so that doing it twice is doing it once; then the others are dropped.
set -eu
workdir=$1
folder=$2
admin() { varnishadm -n "$workdir" -t 20 "$@"; }

while read -r command name value; do
    [ -n "$name" ] || continue
    admin "$command" "$name" "$value" >/dev/null
done <"$folder/parameters.cli"

wanted=manor-$(sha256sum "$folder/default.vcl" | cut -c1-12)
admin vcl.list | awk '{ print $NF }' | grep -qx "$wanted" || admin vcl.load "$wanted" "$folder/default.vcl"
admin vcl.use "$wanted"
for old in $(admin vcl.list | awk '$1 == "available" { print $NF }'); do
    [ "$old" = "$wanted" ] || admin vcl.discard "$old"
done
