#!/bin/sh
# Fills a step's folder `workspace` and runs its commands there.                             (docs/pipeline.md)
# Usage: step.sh COMMANDS SOURCE [ARCHIVE…]
#
# SOURCE    the commit's files, copied; empty: none of them, or they are there already
# ARCHIVE   what steps before left, and chosen files of the commit, unpacked in this order
# What the commands leave running in their process group is ended with them.
set -eu
commands=$1 source=$2
shift 2
cd workspace
[ -z "$source" ] || cp -a -- "$source/." .
for archive; do tar -xf "$archive"; done
[ -n "$commands" ] || exit 0

code=0
/bin/sh -e -c "$commands" || code=$?
trap '' TERM
kill -TERM 0 2> /dev/null
exit $code
