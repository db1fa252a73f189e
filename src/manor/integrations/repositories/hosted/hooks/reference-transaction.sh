#!/bin/sh
# git (2.39) syncs files, never folders: a ref that was renamed into place, and the pack beside it, would still be lost with the power.
# Runs before the push is acknowledged; syncs the folders of what changed. A failure to sync is told, but can't undo what is committed.
[ "$1" = committed ] || exit 0
sync objects/pack objects refs refs/heads . || echo "manor: this push could not be synced to disk" >&2
while read -r _old _new ref; do
  folder=${ref%/*}
  [ -d "$folder" ] && sync -- "$folder"
done
exit 0
