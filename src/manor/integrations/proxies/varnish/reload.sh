#!/bin/sh
# Make a running Varnish take its files as they are now: reload.sh WORKDIR FOLDER
# The VCL is loaded under a name made from its content, so that doing it twice is doing it once; then the others are dropped.
set -eu
workdir=$1
folder=$2
admin() {
    # varnishadm says on standard output why it failed.
    said=$(varnishadm -n "$workdir" -t 20 "$@") || { printf '%s: %s\n' "$*" "$said" >&2; return 1; }
    printf '%s\n' "$said"
}

while read -r command name value; do
    [ "$command" = param.set ] || continue
    admin "$command" "$name" "$value" >/dev/null
done <"$folder/start.cli"

wanted=manor-$(sha256sum "$folder/default.vcl" | cut -c1-12)
# A discarded VCL stays listed until its last request is done.
admin vcl.list | awk '$1 != "discarded" { print $NF }' | grep -qx "$wanted" || admin vcl.load "$wanted" "$folder/default.vcl"
admin vcl.use "$wanted"
for old in $(admin vcl.list | awk '$1 == "available" { print $NF }'); do
    [ "$old" = "$wanted" ] || admin vcl.discard "$old"
done
