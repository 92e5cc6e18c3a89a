#!/bin/bash
# Starts PostgreSQL. At the first start it makes the cluster as the environment
# says and runs what is in /docker-entrypoint-initdb.d.
set -euo pipefail

fail() {
	printf 'Error: %s\n' "$*" >&2
	exit 1
}

# setting NAME DEFAULT prints POSTGRES_NAME, or what the file says that
# POSTGRES_NAME_FILE points at.
setting() {
	local variable=POSTGRES_$1 file=POSTGRES_$1_FILE
	if [ -n "${!variable:-}" ] && [ -n "${!file:-}" ]; then
		fail "both $variable and $file are set (but are exclusive)"
	fi
	if [ -n "${!file:-}" ]; then
		cat "${!file}"
	else
		printf '%s' "${!variable:-$2}"
	fi
}

first_start() {
	local user password database method file
	user=$(setting USER postgres)
	password=$(setting PASSWORD "")
	database=$(setting DB "$user")
	method=$(setting HOST_AUTH_METHOD "")
	if [ -z "$password" ] && [ "$method" != trust ]; then
		fail "Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the
       superuser, or POSTGRES_HOST_AUTH_METHOD=trust."
	fi
	local arguments=(--username="$user")
	# initdb reads the password from the third stream, so that no file holds it.
	[ -z "$password" ] || arguments+=(--pwfile=/dev/fd/3)
	# shellcheck disable=SC2086 # the caller's words
	initdb -D "$PGDATA" "${arguments[@]}" ${POSTGRES_INITDB_ARGS:-} 3< <(printf '%s\n' "$password")
	printf '\nhost all all all %s\n' "${method:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"

	# Without a network address, so that nobody takes this server for the real one.
	pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -p 5432" start
	local sql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user")
	if [ "$database" != postgres ]; then
		printf 'CREATE DATABASE :"db";\n' | "${sql[@]}" --dbname postgres --set db="$database"
	fi
	sql+=(--dbname "$database")
	export PGHOST=/run/postgresql PGUSER=$user POSTGRES_USER=$user POSTGRES_DB=$database
	for file in /docker-entrypoint-initdb.d/*; do
		case $file in
		*.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
		*.sql) "${sql[@]}" -f "$file" ;;
		*.sql.gz) gunzip -c "$file" | "${sql[@]}" ;;
		/docker-entrypoint-initdb.d/\*) ;;
		*) echo "ignoring $file" ;;
		esac
	done
	unset PGHOST PGUSER
	pg_ctl -D "$PGDATA" -m fast -w stop
	printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

case ${1:-} in
"" | -*) set -- postgres "$@" ;;
esac
if [ "$1" = postgres ]; then
	if [ "$(id -u)" = 0 ]; then
		mkdir -p "$PGDATA"
		find "$PGDATA" /run/postgresql \! -user postgres -exec chown postgres '{}' +
		chmod 700 "$PGDATA"
		exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
	fi
	[ -s "$PGDATA/PG_VERSION" ] || first_start
fi
exec "$@"
