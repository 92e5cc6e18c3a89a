<?php
// The database of the blog, installed at the first use.
$db = new mysqli(getenv('WORDPRESS_DB_HOST'), getenv('WORDPRESS_DB_USER'), getenv('WORDPRESS_DB_PASSWORD'), getenv('WORDPRESS_DB_NAME'));
$db->query('CREATE TABLE IF NOT EXISTS wp_posts (id INT AUTO_INCREMENT PRIMARY KEY, title TEXT, body TEXT)');
