#!/bin/bash
# Tells whether the server is healthy, with the options of the public mariadb
# image that compose files use: --connect and --innodb_initialized.
for check in "$@"; do
	case $check in
	--connect)
		# A refused login is an answer too; the server of the first start does not
		# listen on the network.
		answer=$(mariadb-admin --no-defaults --protocol=tcp -h 127.0.0.1 --connect-timeout=5 ping 2>&1)
		case $answer in
		*"is alive"* | *"Access denied"*) ;;
		*) echo "$answer" && exit 1 ;;
		esac
		;;
	--innodb_initialized)
		[ -f /var/lib/mysql/ibdata1 ] || exit 1
		;;
	*) echo "unknown check $check" && exit 1 ;;
	esac
done
