<?php global $wpdb; ?>
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title><?php bloginfo('name'); ?></title>
<link rel="stylesheet" href="<?php echo esc_url(get_stylesheet_uri()); ?>">
<?php wp_head(); ?>
</head>
<body>
<h1><?php bloginfo('name'); ?></h1>
<?php if (is_front_page()) { ?>
<section id="shop">
<?php foreach (get_posts(['post_type' => 'product', 'numberposts' => -1, 'orderby' => 'ID', 'order' => 'ASC']) as $product) { ?>
<article><h2><?php echo esc_html($product->post_title); ?></h2>
<?php echo get_the_post_thumbnail($product, 'thumbnail'); ?>
<b><?php echo esc_html(get_post_meta($product->ID, 'price', true)); ?></b></article>
<?php } $sold = $wpdb->get_row("SELECT COUNT(*) AS orders, SUM(cents) AS cents FROM {$wpdb->prefix}orders"); ?>
<p><?php printf('%d orders for %d cents', $sold->orders ?? 0, $sold->cents ?? 0); ?></p>
</section>
<?php } while (have_posts()) { the_post(); ?>
<article><h2><a href="<?php the_permalink(); ?>"><?php the_title(); ?></a></h2><?php the_content(); ?></article>
<?php } wp_footer(); ?>
</body>
</html>
