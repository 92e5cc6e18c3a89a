mariadb --protocol=socket -uroot shop -e "INSERT INTO fruit (name) VALUES ('plum')"
