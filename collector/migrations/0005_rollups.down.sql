-- only: cluster
DROP TABLE IF EXISTS {database}.rollup_state{on_cluster} SYNC;

-- only: cluster
DROP TABLE IF EXISTS {database}.rollup_marks{on_cluster} SYNC;

-- only: cluster
DROP TABLE IF EXISTS {database}.rollup_1h{on_cluster} SYNC;

-- only: cluster
DROP TABLE IF EXISTS {database}.rollup_1m{on_cluster} SYNC;

-- only: cluster
DROP TABLE IF EXISTS {database}.rollup_10s{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.rollup_state{local}{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.rollup_marks{local}{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.rollup_1h{local}{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.rollup_1m{local}{on_cluster} SYNC;

DROP TABLE IF EXISTS {database}.rollup_10s{local}{on_cluster} SYNC;
