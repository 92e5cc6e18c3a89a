<?php
require 'blog.php';
echo "Welcome\n";
foreach ($db->query('SELECT title, body FROM wp_posts') as $post) {
    echo "$post[title]: $post[body]\n";
}
