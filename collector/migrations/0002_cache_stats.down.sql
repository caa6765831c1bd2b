-- only: cluster
DROP TABLE IF EXISTS {database}.cache_stats{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.cache_stats{local}{on_cluster} SYNC;
