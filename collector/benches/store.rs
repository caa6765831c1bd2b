//! What storing costs: CPU of both sides for a million samples, and bytes on disk, for the writer and for the ways that were not chosen.
//!
//! The workload is that of the peers' comparison: nodes of 200 series each, one sample every 10 s, in arrival order, in blocks of 100,000 rows. 22 % of the
//! series are always zero, 7 % constant, 26 % seconds with 2 decimals, 23 % integer counters, 14 % bytes in whole pages, 4 % small integers, 4 % random walks
//! with 2 decimals. `QUICK=1` stores a tenth of the nodes.

mod common;

use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

use clickhouse::Row;
use flyball_collector::store::{DAY_MS, SampleRow, Store};
use serde::Serialize;

use common::{Database, Failure, Load, now_ms, server_cpu_s, settle};

const HEADER: &str = "| case | samples a series | k samples/s | client CPU s/M | server CPU s/M acked | settled | merged | B/sample | merged |
|---|---|---|---|---|---|---|---|---|";

/// How rows reach the table.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// [`Store::insert_samples`].
    Writer,
    /// The client's typed rows.
    Typed,
    /// RowBinary, encoded here.
    RowBinary { optimize_on_insert: u8 },
}

/// Which table the rows go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// As the migrations make it.
    AsIs,
    /// A MergeTree that keeps repeated rows.
    Plain,
    /// Without waiting for the disk.
    Unsynced,
}

/// One line of the table.
struct Case {
    name: &'static str,
    way: Way,
    /// What is changed about the table.
    table: Table,
    /// Nodes and samples of each series.
    size: (u64, i64),
}

#[derive(Debug, Row, Serialize)]
struct TypedRow {
    series_id: u64,
    ts: i64,
    raw: i64,
    scale: i8,
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let nodes = if std::env::var_os("QUICK").is_some() { 100 } else { 1_000 };
    let (short, long) = ((nodes, 50), (nodes / 10, 500));
    let binary = |optimize_on_insert| Way::RowBinary { optimize_on_insert };
    let cases = [
        Case { name: "writer (Native)", way: Way::Writer, table: Table::AsIs, size: short },
        Case { name: "writer (Native)", way: Way::Writer, table: Table::AsIs, size: long },
        Case { name: "RowBinary bytes", way: binary(0), table: Table::AsIs, size: short },
        Case {
            name: "RowBinary bytes, optimize_on_insert",
            way: binary(1),
            table: Table::AsIs,
            size: short,
        },
        Case { name: "typed rows", way: Way::Typed, table: Table::AsIs, size: short },
        Case { name: "writer, no fsync", way: Way::Writer, table: Table::Unsynced, size: short },
        Case {
            name: "writer, plain MergeTree",
            way: Way::Writer,
            table: Table::Plain,
            size: short,
        },
    ];
    writeln!(stdout(), "{HEADER}")?;
    for case in &cases {
        writeln!(stdout(), "{}", measure(case).await?)?;
    }
    Ok(())
}

async fn measure(case: &Case) -> Result<String, Failure> {
    let Database { engine, store, pid, dir: _dir } = Database::open().await?;
    match case.table {
        Table::AsIs => {}
        Table::Plain => replace_by_plain(&store).await?,
        Table::Unsynced => {
            let sql = "ALTER TABLE performance_metrics MODIFY SETTING fsync_after_insert = 0";
            store.client().query(sql).execute().await?;
        }
    }
    let mut load = Load::new(case.size.0, now_ms() / DAY_MS * DAY_MS);
    let (mut samples, mut client, mut wall) = (0_u64, Duration::ZERO, Duration::ZERO);
    let before = server_cpu_s(pid)?;
    for block in 0.. {
        let rows = load.rows(case.size.1);
        if rows.is_empty() {
            break;
        }
        let (cpu, start) = (client_cpu(), Instant::now());
        insert(case.way, &store, &rows, &format!("{block}")).await?;
        (client, wall) = (client + client_cpu().saturating_sub(cpu), wall + start.elapsed());
        samples += rows.len() as u64;
    }
    let acked = server_cpu_s(pid)? - before;
    settle(&store).await?;
    let settled = server_cpu_s(pid)? - before;
    let natural = bytes_on_disk(&store).await?;
    store.client().query("OPTIMIZE TABLE performance_metrics FINAL").execute().await?;
    settle(&store).await?;
    let merged = server_cpu_s(pid)? - before;
    let least = bytes_on_disk(&store).await?;
    engine.stop().await;

    let millions = samples as f64 / 1e6;
    Ok(format!(
        "| {} | {} | {:.0} | {:.3} | {:.3} | {:.3} | {:.3} | {:.2} | {:.3} |",
        case.name,
        case.size.1,
        samples as f64 / 1e3 / wall.as_secs_f64(),
        client.as_secs_f64() / millions,
        acked / millions,
        settled / millions,
        merged / millions,
        natural as f64 / samples as f64,
        least as f64 / samples as f64,
    ))
}

async fn insert(way: Way, store: &Store, rows: &[SampleRow], token: &str) -> Result<(), Failure> {
    match way {
        Way::Writer => store.insert_samples(rows, token).await?,
        Way::Typed => {
            let mut insert = store
                .client()
                .insert::<TypedRow>("performance_metrics")
                .await?
                .with_setting("insert_deduplication_token", token)
                .with_setting("optimize_on_insert", "0");
            for row in rows {
                let &SampleRow { series_id, ts_ms, raw, scale } = row;
                insert.write(&TypedRow { series_id, ts: ts_ms, raw, scale }).await?;
            }
            insert.end().await?;
        }
        Way::RowBinary { optimize_on_insert } => {
            let mut bytes = Vec::with_capacity(rows.len() * 25);
            for row in rows {
                bytes.extend_from_slice(&row.series_id.to_le_bytes());
                bytes.extend_from_slice(&row.ts_ms.to_le_bytes());
                bytes.extend_from_slice(&row.raw.to_le_bytes());
                bytes.extend_from_slice(&row.scale.to_le_bytes());
            }
            let sql =
                "INSERT INTO performance_metrics (series_id, ts, raw, scale) FORMAT RowBinary";
            let mut insert = store
                .client()
                .insert_formatted_with(sql)
                .with_setting("insert_deduplication_token", token)
                .with_setting("optimize_on_insert", optimize_on_insert.to_string());
            insert.send(bytes.into()).await?;
            insert.end().await?;
        }
    }
    Ok(())
}

async fn replace_by_plain(store: &Store) -> Result<(), Failure> {
    let sql = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'performance_metrics'";
    let create: String = store.client().query(sql).fetch_one().await?;
    store.client().query("DROP TABLE performance_metrics SYNC").execute().await?;
    let plain = create.replace("ReplacingMergeTree", "MergeTree");
    Ok(store.client().query_raw(&plain).execute().await?)
}

async fn bytes_on_disk(store: &Store) -> Result<u64, Failure> {
    let sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'performance_metrics'";
    Ok(store.client().query(sql).fetch_one().await?)
}

fn client_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}
