-- only: cluster
DROP TABLE IF EXISTS {database}.optimization_logs{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.optimization_logs{local}{on_cluster} SYNC;
