-- A merge takes 30 parts at least, and all that it was chosen for. ClickHouse weighs a part by its compressed bytes and 5 MB for itself, so a partition of a few megabytes, which
-- are millions of rows, was merged as a whole with every five or six new parts, that is every few seconds: at 4,600 samples a second 40 % of a processor after half an hour, and
-- more until the hour ended. The heuristic that is switched off drops what is small beside the rest again, down to one new part for each merge.
ALTER TABLE {database}.performance_metrics{local}{on_cluster}
MODIFY SETTING min_parts_to_merge_at_once = 30, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0;

ALTER TABLE {database}.cache_stats{local}{on_cluster}
MODIFY SETTING min_parts_to_merge_at_once = 30, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0;

ALTER TABLE {database}.balancer_stats{local}{on_cluster}
MODIFY SETTING min_parts_to_merge_at_once = 30, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0;
