<?php
echo getenv('GREETING'), isset($_GET['name']) ? " $_GET[name]" : '', ' from ', $_SERVER['SCRIPT_FILENAME'], "\n";
