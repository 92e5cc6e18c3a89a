#!/bin/sh
# Starts Redis as its own user; options or a configuration file alone mean the
# server.
set -eu
case ${1:-} in
"" | -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ]; then
	if [ "$(id -u)" = 0 ]; then
		find . \! -user redis -exec chown redis '{}' +
		exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
	fi
	# A container's clients come from other addresses. Said last, it would
	# overrule the caller's own choice.
	shift
	case ${1:-} in
	"" | -*) set -- redis-server --protected-mode no "$@" ;;
	*) conf=$1 && shift && set -- redis-server "$conf" --protected-mode no "$@" ;;
	esac
fi
exec "$@"
