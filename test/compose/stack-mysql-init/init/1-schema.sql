CREATE TABLE fruit (id INT AUTO_INCREMENT PRIMARY KEY, name TEXT);
INSERT INTO fruit (name) VALUES ('apple'), ('pear');
