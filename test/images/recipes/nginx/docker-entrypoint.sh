#!/bin/sh
# Runs what is in /docker-entrypoint.d before the server starts: scripts in
# order, those that end in .envsh in this shell.
set -e
if [ "$1" = nginx ]; then
	for file in /docker-entrypoint.d/*; do
		[ -x "$file" ] || continue
		case $file in
		*.envsh) . "$file" ;;
		*.sh) "$file" ;;
		esac
	done
fi
exec "$@"
