<?php
require 'blog.php';
$insert = $db->prepare('INSERT INTO wp_posts (title, body) VALUES (?, ?)');
$insert->bind_param('ss', $_POST['title'], $_POST['text']);
$insert->execute();
file_put_contents('/uploads/' . $db->insert_id, $_POST['text']);
