-- only: cluster
DROP TABLE IF EXISTS {database}.performance_metrics{on_cluster} SYNC;

-- only: cluster
DROP TABLE IF EXISTS {database}.series{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.performance_metrics{local}{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.series{local}{on_cluster} SYNC;
