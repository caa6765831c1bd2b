-- 0003 optimization_logs undone

DROP TABLE IF EXISTS flyball.optimization_logs SYNC;

DROP TABLE IF EXISTS flyball.optimization_logs_local SYNC;

-- 0002 cache_stats undone

DROP TABLE IF EXISTS flyball.cache_stats SYNC;

DROP TABLE IF EXISTS flyball.cache_stats_local SYNC;

-- 0001 measurements undone

DROP TABLE IF EXISTS flyball.performance_metrics SYNC;

DROP TABLE IF EXISTS flyball.series SYNC;

DROP TABLE IF EXISTS flyball.performance_metrics_local SYNC;

DROP TABLE IF EXISTS flyball.series_local SYNC;

