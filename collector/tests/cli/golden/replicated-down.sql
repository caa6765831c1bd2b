-- 0003 optimization_logs undone

DROP TABLE IF EXISTS flyball.optimization_logs ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.optimization_logs_local ON CLUSTER main SYNC;

-- 0002 cache_stats undone

DROP TABLE IF EXISTS flyball.cache_stats ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.cache_stats_local ON CLUSTER main SYNC;

-- 0001 measurements undone

DROP TABLE IF EXISTS flyball.performance_metrics ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.series ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.performance_metrics_local ON CLUSTER main SYNC;

DROP TABLE IF EXISTS flyball.series_local ON CLUSTER main SYNC;

