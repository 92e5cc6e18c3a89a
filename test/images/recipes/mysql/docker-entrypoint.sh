#!/bin/bash
# Starts the database server. At the first start it makes the data directory as
# the environment says and runs what is in /docker-entrypoint-initdb.d.
set -euo pipefail

data=/var/lib/mysql
socket=/run/mysqld/mysqld.sock

note() { printf '%s [Note] [Entrypoint]: %s\n' "$(date -u +'%Y-%m-%d %H:%M:%S+00:00')" "$*"; }
fail() {
	printf '%s [ERROR] [Entrypoint]: %s\n' "$(date -u +'%Y-%m-%d %H:%M:%S+00:00')" "$*" >&2
	exit 1
}

# setting NAME prints the value of MYSQL_NAME or MARIADB_NAME, or of the file
# that the variable with _FILE behind it points at.
setting() {
	local prefix variable file
	for prefix in MYSQL MARIADB; do
		variable=${prefix}_$1
		file=${variable}_FILE
		if [ -n "${!variable:-}" ] && [ -n "${!file:-}" ]; then
			fail "both $variable and $file are set (but are exclusive)"
		fi
		if [ -n "${!file:-}" ]; then
			[ -r "${!file}" ] || fail "$file: cannot read ${!file}"
			cat "${!file}"
			return
		fi
		if [ -n "${!variable:-}" ]; then
			printf '%s' "${!variable}"
			return
		fi
	done
}

# quoted VALUE prints a SQL string.
quoted() {
	local value=${1//\\/\\\\}
	printf "'%s'" "${value//\'/\\\'}"
}

# run_sql feeds statements to the server that is being set up.
run_sql() { mariadb --protocol=socket --socket="$socket" -uroot --comments "$@"; }

make_data() {
	note "Initializing database files"
	mariadb-install-db --datadir="$data" --skip-test-db --auth-root-authentication-method=normal \
		--skip-name-resolve --loose-innodb-log-file-size=48M >/dev/null
	note "Database files initialized"
}

accounts() {
	local host
	host=$(setting ROOT_HOST)
	host=${host:-%}
	echo "SET @@SESSION.SQL_LOG_BIN=0;"
	# The installation makes these too, without a password.
	echo "DROP USER IF EXISTS ''@'localhost', ''@'$(hostname)', 'root'@'127.0.0.1', 'root'@'::1', 'root'@'$(hostname)';"
	if [ "$host" != localhost ]; then
		echo "CREATE USER 'root'@$(quoted "$host") IDENTIFIED BY $(quoted "$root_password");"
		echo "GRANT ALL ON *.* TO 'root'@$(quoted "$host") WITH GRANT OPTION;"
	fi
	if [ -n "$database" ]; then
		echo "CREATE DATABASE IF NOT EXISTS \`${database//\`/\`\`}\`;"
	fi
	if [ -n "$user" ] && [ -n "$password" ]; then
		echo "CREATE USER $(quoted "$user")@'%' IDENTIFIED BY $(quoted "$password");"
		if [ -n "$database" ]; then
			local pattern=${database//_/\\_}
			echo "GRANT ALL ON \`${pattern//\`/\`\`}\`.* TO $(quoted "$user")@'%';"
		fi
	fi
}

start_scripts() {
	local file
	local into=()
	[ -z "$database" ] || into=(--database="$database")
	for file in /docker-entrypoint-initdb.d/*; do
		case $file in
		*.sh)
			note "running $file"
			if [ -x "$file" ]; then "$file"; else . "$file"; fi
			;;
		*.sql) note "running $file" && run_sql "${into[@]}" <"$file" ;;
		*.sql.gz) note "running $file" && gunzip -c "$file" | run_sql "${into[@]}" ;;
		*.sql.xz) note "running $file" && xzcat "$file" | run_sql "${into[@]}" ;;
		*.sql.zst) note "running $file" && zstd -dc "$file" | run_sql "${into[@]}" ;;
		/docker-entrypoint-initdb.d/\*) ;;
		*) note "ignoring $file" ;;
		esac
	done
}

first_start() {
	local root_password database user password pid
	root_password=$(setting ROOT_PASSWORD)
	database=$(setting DATABASE)
	user=$(setting USER)
	password=$(setting PASSWORD)
	if [ -n "$(setting RANDOM_ROOT_PASSWORD)" ]; then
		root_password=$(head -c 24 /dev/urandom | base64)
		note "GENERATED ROOT PASSWORD: $root_password"
	fi
	if [ -z "$root_password$(setting ALLOW_EMPTY_PASSWORD)$(setting ALLOW_EMPTY_ROOT_PASSWORD)" ]; then
		fail "Database is uninitialized and password option is not specified
    You need to specify one of the following as an environment variable:
    - MYSQL_ROOT_PASSWORD
    - MYSQL_ALLOW_EMPTY_PASSWORD
    - MYSQL_RANDOM_ROOT_PASSWORD"
	fi
	if [ "$user" = root ]; then
		fail "MYSQL_USER=\"root\", MYSQL_USER and MYSQL_PASSWORD are for configuring a regular user and cannot be used for the root user"
	fi
	make_data

	note "Starting temporary server"
	"$@" --skip-networking --socket="$socket" --loose-skip-slave-start &
	pid=$!
	for _ in $(seq 1 300); do
		if run_sql -e 'SELECT 1' >/dev/null 2>&1; then break; fi
		kill -0 "$pid" 2>/dev/null || fail "Temporary server ended before it was ready"
		sleep 0.1
	done
	run_sql -e 'SELECT 1' >/dev/null || fail "Unable to start server"
	note "Temporary server started"

	accounts | run_sql
	start_scripts
	# The local root last: until here, it needs no password.
	run_sql <<<"ALTER USER 'root'@'localhost' IDENTIFIED BY $(quoted "$root_password"); FLUSH PRIVILEGES;"

	note "Stopping temporary server"
	kill "$pid"
	wait "$pid" || fail "Unable to shut down server"
	note "Temporary server stopped"
	note "MySQL init process done. Ready for start up."
}

case ${1:-} in
"" | -*) set -- mysqld "$@" ;;
esac

if [ "$1" = mysqld ] || [ "$1" = mariadbd ]; then
	server=(mariadbd)
	shift
	if [ "$(id -u)" = 0 ]; then
		find "$data" /run/mysqld \! -user mysql -exec chown mysql:mysql '{}' +
		exec setpriv --reuid=mysql --regid=mysql --init-groups --inh-caps=-all "$0" mysqld "$@"
	fi
	export HOME=$data
	for argument in "$@"; do
		case $argument in
		# Options that MySQL has and MariaDB does not end its start.
		--default-authentication-plugin* | --mysql-native-password* | --mysqlx* | --authentication-policy*)
			server+=("--loose-${argument#--}") ;;
		*) server+=("$argument") ;;
		esac
	done
	if [ ! -d "$data/mysql" ]; then
		first_start "${server[@]}"
	fi
	set -- "${server[@]}"
fi
exec "$@"
