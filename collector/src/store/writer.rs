//! Inserts, each one block of one partition.
//!
//! Rows go out as one block in ClickHouse's Native format, which is columnar: the server copies columns where RowBinary makes it parse rows, and columns
//! compress better under LZ4. Rows are sorted by the table's key first, which is cheaper here than in the server. Figures: docs/adr/003-samples-table.md.
//!
//! A block is written whole or not at all, since it is one partition and one part. The deduplication token makes a retry of the same block harmless
//! as long as the server remembers the token (1,000 inserts); the identity of a row, (series_id, ts), makes any later repetition harmless.
//!
//! On a cluster the server that takes a block splits it by series and hands each shard its part with the same token. A part that a shard has
//! is not written again when the block is retried, by whichever server, so a block whose insert failed at one shard is completed by the retry.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use clickhouse::{Client, Row, RowOwned, RowWrite};
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;

use super::balancer_rows::BalancerRow;
use super::config::ClickHouseSettings;
use super::decisions::{DECISIONS, DecisionRow};
use super::error::StoreError;
use super::metrics::{StoreMetrics, Table};
use super::rows::{CacheRow, LateMark, SampleRow, SeriesRow};
use super::servers::Servers;

const SAMPLES: &str = "performance_metrics";
const SERIES: &str = "series";
const MARKS: &str = "rollup_marks";
const CACHES: &str = "cache_stats";
const BALANCERS: &str = "balancer_stats";

/// Largest piece that is compressed and sent at once. ClickHouse's own frames are 1 MiB.
const FRAME_BYTES: usize = 1 << 20;

/// A row of `rollup_marks`; the server sets the time.
#[derive(Debug, Row, Serialize)]
struct MarkRow {
    span: u32,
    node: u16,
    id: u64,
    sign: i8,
}

/// Writes blocks of rows.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    servers: Servers,
    timeout: Duration,
    metrics: StoreMetrics,
}

impl Writer {
    /// Writes to the servers, one at a time.
    pub(super) fn new(
        servers: &Servers,
        settings: &ClickHouseSettings,
        metrics: StoreMetrics,
    ) -> Self {
        let servers = settings
            .insert_settings()
            .into_iter()
            .fold(servers.clone(), |servers, (name, value)| servers.with_setting(name, &value));
        Self { servers, timeout: settings.timeout(), metrics }
    }

    /// Shows the number of series.
    pub(super) fn series_gauge(&self) -> Gauge {
        self.metrics.series.clone()
    }

    pub(super) async fn insert_samples(
        &self,
        rows: &[SampleRow],
        token: &str,
    ) -> Result<(), StoreError> {
        let Some(first) = rows.first() else { return Ok(()) };
        if let Some(other) = rows.iter().find(|row| row.hour() != first.hour()) {
            return Err(StoreError::MixedHours { first: first.hour(), other: other.hour() });
        }
        let block = encode_samples(rows);
        let bytes = block.len();
        let choice = self.servers.choose();
        let insert = self.insert_block(&choice.client, SAMPLES, block, token);
        let result = self.measured(SAMPLES, rows.len(), bytes, insert).await;
        // The caller tries again, perhaps at another server: the token goes with the block.
        choice.settle(&result);
        result
    }

    pub(super) async fn insert_series(
        &self,
        rows: &[SeriesRow],
        token: &str,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let choice = self.servers.choose();
        let insert = async {
            let mut insert = choice
                .client
                .insert::<SeriesRow>(SERIES)
                .await?
                .with_setting("insert_deduplication_token", token)
                .with_timeouts(Some(self.timeout), Some(self.timeout));
            for row in rows {
                insert.write(row).await?;
            }
            insert.end().await.map_err(StoreError::from)
        };
        let result = self.measured(SERIES, rows.len(), 0, insert).await;
        choice.settle(&result);
        result
    }

    pub(super) async fn insert_cache_stats(
        &self,
        rows: &[CacheRow],
        token: &str,
    ) -> Result<(), StoreError> {
        self.insert_rows(CACHES, rows, token).await
    }

    pub(super) async fn insert_balancer_stats(
        &self,
        rows: &[BalancerRow],
        token: &str,
    ) -> Result<(), StoreError> {
        self.insert_rows(BALANCERS, rows, token).await
    }

    async fn insert_rows<R>(
        &self,
        table: &'static str,
        rows: &[R],
        token: &str,
    ) -> Result<(), StoreError>
    where
        R: RowOwned + RowWrite,
    {
        let choice = self.servers.choose();
        let insert = async {
            let mut insert = choice
                .client
                .insert::<R>(table)
                .await?
                .with_setting("insert_deduplication_token", token)
                .with_timeouts(Some(self.timeout), Some(self.timeout));
            for row in rows {
                insert.write(row).await?;
            }
            insert.end().await.map_err(StoreError::from)
        };
        let result = self.measured(table, rows.len(), 0, insert).await;
        choice.settle(&result);
        result
    }

    pub(super) async fn insert_late_marks(
        &self,
        marks: &[LateMark],
        id: u64,
    ) -> Result<(), StoreError> {
        let choice = self.servers.choose();
        let insert = async {
            let mut insert = choice
                .client
                .insert::<MarkRow>(MARKS)
                .await?
                .with_setting("insert_deduplication_token", format!("marks:{id:016x}"))
                .with_timeouts(Some(self.timeout), Some(self.timeout));
            for mark in marks {
                let span = (mark.span_ms / 1_000) as u32;
                insert.write(&MarkRow { span, node: mark.node, id, sign: 1 }).await?;
            }
            insert.end().await.map_err(StoreError::from)
        };
        let result = self.measured(MARKS, marks.len(), 0, insert).await;
        choice.settle(&result);
        result
    }

    pub(super) async fn insert_decision(
        &self,
        row: &DecisionRow,
        token: &str,
    ) -> Result<(), StoreError> {
        let choice = self.servers.choose();
        let insert = async {
            let mut insert = choice
                .client
                .insert::<DecisionRow>(DECISIONS)
                .await?
                .with_setting("insert_deduplication_token", token)
                .with_timeouts(Some(self.timeout), Some(self.timeout));
            insert.write(row).await?;
            insert.end().await.map_err(StoreError::from)
        };
        let result = self.measured(DECISIONS, 1, 0, insert).await;
        choice.settle(&result);
        result
    }

    async fn insert_block(
        &self,
        client: &Client,
        table: &'static str,
        mut block: Bytes,
        token: &str,
    ) -> Result<(), StoreError> {
        let sql = format!("INSERT INTO {table} FORMAT Native");
        let mut insert = client
            .insert_formatted_with(sql)
            .with_setting("insert_deduplication_token", token)
            .with_timeouts(Some(self.timeout), Some(self.timeout));
        while !block.is_empty() {
            insert.send(block.split_to(block.len().min(FRAME_BYTES))).await?;
        }
        insert.end().await?;
        Ok(())
    }

    async fn measured(
        &self,
        table: &'static str,
        rows: usize,
        bytes: usize,
        insert: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let start = Instant::now();
        let result = insert.await;
        self.metrics.insert_seconds.observe(start.elapsed().as_secs_f64());
        match &result {
            Ok(()) => {
                let label = Table { table };
                self.metrics.inserts.get_or_create(&label).inc();
                self.metrics.rows.get_or_create(&label).inc_by(rows as u64);
                self.metrics.bytes.get_or_create(&label).inc_by(bytes as u64);
            }
            Err(error) => self.metrics.failed(table, error.class()),
        }
        result
    }
}

/// One block of `performance_metrics` in the Native format: for each column its name, its type and its values, little endian.
fn encode_samples(rows: &[SampleRow]) -> Bytes {
    let mut order: Vec<(u64, i64, u32)> = Vec::with_capacity(rows.len());
    order.extend(rows.iter().enumerate().map(|(i, row)| (row.series_id, row.ts_ms, i as u32)));
    if !order.is_sorted() {
        order.sort_unstable();
    }
    let mut block = BytesMut::with_capacity(rows.len() * 25 + 128);
    put_varint(&mut block, 4);
    put_varint(&mut block, rows.len() as u64);
    put_column(&mut block, "series_id", "UInt64");
    for row in &order {
        block.put_u64_le(row.0);
    }
    put_column(&mut block, "ts", "DateTime64(3, 'UTC')");
    for row in &order {
        block.put_i64_le(row.1);
    }
    put_column(&mut block, "raw", "Int64");
    for row in &order {
        block.put_i64_le(rows[row.2 as usize].raw);
    }
    put_column(&mut block, "scale", "Int8");
    for row in &order {
        block.put_i8(rows[row.2 as usize].scale);
    }
    block.freeze()
}

fn put_column(block: &mut BytesMut, name: &str, kind: &str) {
    for text in [name, kind] {
        put_varint(block, text.len() as u64);
        block.put_slice(text.as_bytes());
    }
}

fn put_varint(block: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        block.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    block.put_u8(number as u8);
}
