ALTER TABLE {database}.balancer_stats{local}{on_cluster}
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

ALTER TABLE {database}.cache_stats{local}{on_cluster}
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;

ALTER TABLE {database}.performance_metrics{local}{on_cluster}
RESET SETTING min_parts_to_merge_at_once, merge_selector_enable_heuristic_to_remove_small_parts_at_right;
