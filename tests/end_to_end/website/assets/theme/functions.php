<?php
function teahouse_products() {
    register_post_type('product', ['public' => true, 'label' => 'Products', 'supports' => ['title', 'thumbnail']]);
}
add_action('init', 'teahouse_products');
add_theme_support('post-thumbnails');
// They would fetch pictures of signs from the outside.
remove_action('wp_head', 'print_emoji_detection_script', 7);
remove_action('wp_print_styles', 'print_emoji_styles');
add_filter('emoji_svg_url', '__return_false');
