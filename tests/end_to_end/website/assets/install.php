<?php
// Sets the site up through WordPress's own functions: install.php WEB_ROOT CONTENT.json
[, $root, $file] = $argv;
$content = json_decode(file_get_contents($file), true, 16, JSON_THROW_ON_ERROR);
$_SERVER += ['HTTP_HOST' => $content['host'], 'REQUEST_URI' => '/', 'REQUEST_METHOD' => 'GET', 'HTTPS' => 'on',
    'SERVER_NAME' => $content['host'], 'SERVER_PROTOCOL' => 'HTTP/1.1', 'REMOTE_ADDR' => '127.0.0.1'];
define('WP_INSTALLING', true);
require "$root/wp-load.php";
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
require_once ABSPATH . 'wp-admin/includes/image.php';
add_filter('pre_wp_mail', '__return_true');

function good($result) {
    if (is_wp_error($result) || !$result) {
        fwrite(STDERR, is_wp_error($result) ? $result->get_error_message() : 'refused: ' . $GLOBALS['wpdb']->last_error);
        exit(1);
    }
    return $result;
}

wp_install($content['title'], 'admin', 'admin@example.test', false, '', $content['passwords']['author']);
wp_installing(false);
switch_theme('teahouse');
require_once get_template_directory() . '/functions.php';
teahouse_products();
update_option('permalink_structure', '/%postname%/');
update_option('posts_per_page', 100);
global $wp_rewrite, $wpdb;
$wp_rewrite->init();
$wp_rewrite->flush_rules(false);

$images = [];
foreach ($content['images'] as $name) {
    $upload = wp_upload_bits($name, null, file_get_contents(dirname($file) . "/$name"));
    $image = good(wp_insert_attachment(['post_mime_type' => 'image/png', 'post_title' => $name], $upload['file']));
    wp_update_attachment_metadata($image, wp_generate_attachment_metadata($image, $upload['file']));
    $images[] = $image;
}
$start = strtotime('2026-01-01 08:00:00');
foreach ($content['marks'] as $number => $mark) {
    $figure = wp_get_attachment_image($images[$number % count($images)], 'full');
    $post = good(wp_insert_post(['post_status' => 'publish', 'post_title' => "Letter $number", 'post_name' => "letter-$number",
        'post_date' => date('Y-m-d H:i:s', $start + $number * 86400), 'post_author' => 1,
        'post_content' => "<p>$mark – äöüß € 🍵</p>$figure"]));
    good(wp_insert_comment(['comment_post_ID' => $post, 'comment_content' => "Answer to $mark", 'comment_approved' => 1]));
}
foreach ($content['prices'] as $number => $price) {
    $product = good(wp_insert_post(['post_type' => 'product', 'post_status' => 'publish', 'post_title' => "Tea $number"]));
    good(update_post_meta($product, 'price', $price));
    good(set_post_thumbnail($product, $images[$number % count($images)]));
}
good($wpdb->query("CREATE TABLE {$wpdb->prefix}orders (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    customer VARCHAR(100) NOT NULL, cents BIGINT NOT NULL) ENGINE=InnoDB"));
$wpdb->query('START TRANSACTION');
foreach ($content['orders'] as [$customer, $cents]) {
    good($wpdb->insert("{$wpdb->prefix}orders", ['customer' => $customer, 'cents' => $cents]));
}
$wpdb->query('COMMIT');
