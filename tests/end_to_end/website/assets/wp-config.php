<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', '@application@');
// The socket's place follows from this file's, so that a copy of the site talks to the copy's own database.
define('DB_HOST', 'localhost:' . dirname(__DIR__, 2) . '/run/mariadb.sock');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $part) {
    define("{$part}_KEY", "@salt@ key of $part");
    define("{$part}_SALT", "@salt@ salt of $part");
}
define('WP_HOME', '@url@');
define('WP_SITEURL', '@url@');
// Nothing calls the outside, and nothing changes by itself.
define('DISABLE_WP_CRON', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
$table_prefix = 'wp_';
if (!defined('ABSPATH')) {
    define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
