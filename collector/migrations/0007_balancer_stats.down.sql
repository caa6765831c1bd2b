-- only: cluster
DROP TABLE IF EXISTS {database}.balancer_stats{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.balancer_stats{local}{on_cluster} SYNC;
