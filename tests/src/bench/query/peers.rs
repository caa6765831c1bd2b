//! VictoriaMetrics and Prometheus with the series of the same fleet: five samples of each, and an
//! hour of the node that is asked about.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use prost::Message;
use tempfile::TempDir;
use tokio::process::Command;

use crate::bench::disk::SEED;
use crate::bench::temporary;
use crate::load::node_name;
use crate::port;
use crate::process::Process;
use crate::wait::{SOON, until};
use crate::workload::{Node, STEP_MS, Template, templates};

/// Samples of the series that nobody asks for.
const FEW: i64 = 5;
/// Longest piece of a snappy literal here.
const PIECE: usize = 60_000;

/// A running peer.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) process: Process,
    pub(super) base: String,
    // Last, so that the directory goes after the process.
    _dir: TempDir,
}

/// What the peers hold and are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Data {
    /// Nodes.
    pub(super) nodes: u64,
    /// The metric and the node that are asked for.
    pub(super) metric: &'static str,
    pub(super) node: u64,
    /// The hour that is asked for, in milliseconds.
    pub(super) hour: (i64, i64),
    /// Time of the newest sample.
    pub(super) last_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    ts_ms: i64,
}

impl Data {
    /// Path of the cheapest answer, of the last value, and of the range.
    pub(super) fn paths(&self, health: &str) -> [(&'static str, String); 3] {
        let series = format!("{}%7Bnode%3D%22{}%22%7D", self.metric, node_name(self.node));
        let seconds = |ms: i64| ms / 1_000;
        let (from, to) = (seconds(self.hour.0), seconds(self.hour.1));
        let last = seconds(self.last_ms);
        [
            ("health", health.to_owned()),
            ("last value", format!("/api/v1/query?query={series}&time={last}")),
            (
                "range of an hour",
                format!("/api/v1/query_range?query={series}&start={from}&end={to}&step=60s"),
            ),
        ]
    }

    /// All series of one node with their samples, oldest first.
    fn series(&self, templates: &[Template], index: u64) -> Vec<TimeSeries> {
        let ticks = (self.last_ms - self.hour.0) / STEP_MS;
        let from = if index == self.node { 0 } else { ticks - FEW + 1 };
        let mut series: Vec<_> =
            templates.iter().map(|template| Self::empty(template, index)).collect();
        let mut node = Node::new(templates, SEED, index);
        for tick in from..=ticks {
            let ts_ms = self.hour.0 + tick * STEP_MS;
            for (series, value) in series.iter_mut().zip(node.tick()) {
                series.samples.push(Sample { value: *value, ts_ms });
            }
        }
        series
    }

    fn empty(template: &Template, index: u64) -> TimeSeries {
        let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
        let series = &template.series;
        let mut labels: Vec<_> = series.attributes.iter().map(|(k, v)| label(k, v)).collect();
        labels.push(label("__name__", &series.metric));
        labels.push(label("node", &node_name(index)));
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        TimeSeries { labels, samples: Vec::new() }
    }
}

impl Peer {
    /// VictoriaMetrics, loaded.
    pub(super) async fn victoria_metrics(data: &Data) -> Result<Self> {
        let peer = Self::start("victoria-metrics", "/health", |dir, address| {
            vec![format!("-httpListenAddr={address}"), format!("-storageDataPath={dir}/data")]
        });
        let (peer, client) = (peer.await?, reqwest::Client::new());
        let url = format!("{}/api/v1/import/prometheus", peer.base);
        let templates = templates();
        for index in 0..data.nodes {
            let body = text(&data.series(&templates, index));
            client.post(&url).body(body).send().await?.error_for_status()?;
        }
        client.get(format!("{}/internal/force_flush", peer.base)).send().await?;
        peer.check(data).await?;
        Ok(peer)
    }

    /// Prometheus, loaded.
    pub(super) async fn prometheus(data: &Data) -> Result<Self> {
        let peer = Self::start("prometheus", "/-/ready", |dir, address| {
            vec![
                format!("--config.file={dir}/prometheus.yml"),
                format!("--storage.tsdb.path={dir}/data"),
                format!("--web.listen-address={address}"),
                "--web.enable-remote-write-receiver".to_owned(),
                "--log.level=warn".to_owned(),
            ]
        });
        let (peer, client) = (peer.await?, reqwest::Client::new());
        let url = format!("{}/api/v1/write", peer.base);
        let templates = templates();
        // The node with the oldest samples first: Prometheus takes none that are an hour older
        // than the newest.
        let others = (0..data.nodes).filter(|index| *index != data.node);
        for index in std::iter::once(data.node).chain(others) {
            let request = WriteRequest { series: data.series(&templates, index) };
            let post = client
                .post(&url)
                .header("Content-Encoding", "snappy")
                .header("Content-Type", "application/x-protobuf")
                .header("X-Prometheus-Remote-Write-Version", "0.1.0")
                .body(snappy(&request.encode_to_vec()));
            let answer = post.send().await?;
            ensure!(answer.status().is_success(), "prometheus: {}", answer.text().await?);
        }
        peer.check(data).await?;
        Ok(peer)
    }

    async fn start(
        name: &'static str,
        ready: &str,
        arguments: impl Fn(&str, &str) -> Vec<String>,
    ) -> Result<Self> {
        let (dir, address) = (temporary()?, format!("127.0.0.1:{}", port::free()?));
        let config = "global:\n  scrape_interval: 15s\n";
        std::fs::write(dir.path().join("prometheus.yml"), config)?;
        let mut command = Command::new(name);
        command.args(arguments(&dir.path().display().to_string(), &address));
        let mut process = Process::start(name, command, dir.path())?;
        let base = format!("http://{address}");
        let client = reqwest::Client::new();
        until(&format!("{name} to answer"), SOON, || {
            let running = process.check_running();
            let request = client.get(format!("{base}{ready}"));
            async move {
                running?;
                Ok(request.send().await?.error_for_status()?)
            }
        })
        .await?;
        Ok(Self { name, process, base, _dir: dir })
    }

    /// That it answers with what was written.
    async fn check(&self, data: &Data) -> Result<()> {
        let [_, _, (_, range)] = data.paths("");
        let url = format!("{}{range}", self.base);
        until("all samples", Duration::from_mins(1), || async {
            let text = reqwest::get(&url).await?.text().await?;
            let answer: serde_json::Value = serde_json::from_str(&text)?;
            let points = answer["data"]["result"][0]["values"].as_array().map_or(0, Vec::len);
            ensure!(points >= 60, "{points} points of an hour: {text}");
            Ok(())
        })
        .await
        .with_context(|| self.name)
    }

    /// CPU seconds so far.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        Ok(self.process.usage()?.cpu.as_secs_f64())
    }
}

/// Samples in Prometheus' text format.
fn text(series: &[TimeSeries]) -> String {
    let mut body = String::new();
    for series in series {
        let name = series.labels.iter().find(|label| label.name == "__name__");
        let name = name.map_or("", |label| &label.value);
        let labels: Vec<_> = series
            .labels
            .iter()
            .filter(|label| label.name != "__name__")
            .map(|label| format!("{}=\"{}\"", label.name, label.value))
            .collect();
        let prefix = format!("{name}{{{}}}", labels.join(","));
        for Sample { value, ts_ms } in &series.samples {
            writeln!(body, "{prefix} {value} {ts_ms}").expect("writing to a string cannot fail");
        }
    }
    body
}

/// The bytes in the block format of snappy, as literals: nothing is compressed, which the
/// format allows.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1_000 + 16);
    let mut rest = bytes.len();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    for piece in bytes.chunks(PIECE) {
        // Tag of a literal whose length less one stands in the next two bytes.
        out.push(61 << 2);
        out.extend_from_slice(&((piece.len() - 1) as u16).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_snappy_carry_their_lengths() {
        assert_eq!(snappy(b"abc"), b"\x03\xf4\x02\x00abc");
        let long = snappy(&vec![7; 60_001]);
        assert_eq!(&long[..6], [0xe1, 0xd4, 0x03, 0xf4, 0x5f, 0xea]);
        assert_eq!(&long[60_006..], [0xf4, 0, 0, 7]);
    }

    #[test]
    fn only_the_node_that_is_asked_about_has_an_hour() {
        let last_ms = 4_200_000;
        let data = Data { nodes: 2, metric: "host_load1", node: 1, hour: (0, 3_600_000), last_ms };
        let templates = templates();
        let samples = |node| data.series(&templates, node)[0].samples.clone();
        assert_eq!((samples(0).len(), samples(1).len()), (5, 421));
        assert_eq!(samples(0).last().map(|s| s.ts_ms), Some(last_ms));
        let text = text(&data.series(&templates, 0)[..1]);
        let first = "host_cpu_seconds_total{cpu=\"0\",mode=\"user\",node=\"load-00000\"} ";
        assert!(text.starts_with(first) && text.lines().count() == 5, "{text}");
    }
}
