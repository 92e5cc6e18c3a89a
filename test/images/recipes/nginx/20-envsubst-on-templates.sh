#!/bin/sh
# Fills variables of the environment into /etc/nginx/templates/*.template. Only
# variables that exist are replaced, because nginx has its own.
set -e
names=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')
cd /etc/nginx/templates
find . -type f -name '*.template' | while read -r file; do
	to=/etc/nginx/conf.d/${file%.template}
	mkdir -p "$(dirname "$to")"
	envsubst "$names" <"$file" >"$to"
done
