<?php
echo count(glob('/uploads/*')), "\n";
