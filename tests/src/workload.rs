//! A fleet's samples, made up but shaped like real ones: nodes of 200 series each, one sample of each every 10 s.
//!
//! The mix is the one that the stores of this field were measured with (docs/BENCHMARKS.md): 22 % always zero, 7 % constant, 26 % counters of seconds with two
//! decimals, 23 % integer counters, 14 % byte gauges in whole pages, 4 % small integers, 4 % random walks with two decimals. The same seed gives the same
//! samples. Scales are those that an agent gives to such series.

use flyball_proto::series::{Kind, Scale, Series};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal, Normal, Poisson};

/// Series of one node.
pub const SERIES_PER_NODE: usize = 200;
/// Time between two samples of a series.
pub const STEP_MS: i64 = 10_000;

/// How the values of a series move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Zero,
    Constant,
    Counter,
    Seconds,
    Pages,
    Small,
    Walk,
}

/// One series of every node.
#[derive(Debug, Clone)]
pub struct Template {
    /// Metric, unit, kind, scale, attributes.
    pub series: Series,
    shape: Shape,
}

/// The values of one node, tick by tick.
#[derive(Debug)]
pub struct Node {
    rng: StdRng,
    shapes: Vec<Shape>,
    rates: Vec<f64>,
    values: Vec<f64>,
}

impl Node {
    /// Node number `index` of the fleet that `seed` gives.
    pub fn new(templates: &[Template], seed: u64, index: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let rate = LogNormal::new(6.0, 2.0).expect("its parameters are finite");
        let shapes: Vec<_> = templates.iter().map(|t| t.shape).collect();
        let rates = shapes.iter().map(|_| rate.sample(&mut rng)).collect();
        let values = shapes.iter().map(|shape| start(*shape, &mut rng)).collect();
        Self { rng, shapes, rates, values }
    }

    /// The next tick's values, in the order of the templates.
    pub fn tick(&mut self) -> &[f64] {
        for ((shape, rate), value) in self.shapes.iter().zip(&self.rates).zip(&mut self.values) {
            *value = advance(*shape, *rate, *value, &mut self.rng);
        }
        &self.values
    }
}

fn start(shape: Shape, rng: &mut StdRng) -> f64 {
    match shape {
        Shape::Zero | Shape::Small => 0.0,
        Shape::Constant => f64::from(rng.random_range(1..1_u32 << 24)) * 4096.0,
        Shape::Counter => f64::from(rng.random::<u32>()),
        Shape::Seconds => (rng.random_range(0.0..1e8_f64)).round() / 100.0,
        Shape::Pages => f64::from(rng.random_range(1_u32 << 10..1 << 22)) * 4096.0,
        Shape::Walk => (rng.random_range(0.0..5000.0_f64)).round() / 100.0,
    }
}

fn advance(shape: Shape, rate: f64, value: f64, rng: &mut StdRng) -> f64 {
    match shape {
        Shape::Zero | Shape::Constant => value,
        Shape::Counter => value + Poisson::new(rate * 10.0).map_or(0.0, |p| p.sample(rng)),
        Shape::Seconds => ((value + rng.random_range(0.0..10.0)) * 100.0).round() / 100.0,
        Shape::Pages => (value + f64::from(rng.random_range(-500..500)) * 4096.0).max(0.0),
        Shape::Small => Poisson::new(3.0).map_or(0.0, |p| p.sample(rng)),
        Shape::Walk => {
            let step = Normal::new(0.0, 0.3).map_or(0.0, |n| n.sample(rng));
            ((value + step).abs() * 100.0).round() / 100.0
        }
    }
}

/// The 200 series that every node has.
pub fn templates() -> Vec<Template> {
    let mut out = Vec::with_capacity(SERIES_PER_NODE);
    cpus(&mut out);
    disks(&mut out);
    networks(&mut out);
    filesystems(&mut out);
    rest(&mut out);
    assert_eq!(out.len(), SERIES_PER_NODE, "the mix is a fixed one");
    out
}

fn push(out: &mut Vec<Template>, metric: &str, attribute: &[(&str, &str)], shape: Shape) {
    let (unit, kind, scale) = match shape {
        Shape::Seconds => ("s", Kind::Counter, Scale::decimal(2)),
        Shape::Counter | Shape::Zero => ("1", Kind::Counter, Scale::UNIT),
        Shape::Constant | Shape::Pages => ("By", Kind::Gauge, Scale::KIBI),
        Shape::Small => ("1", Kind::Gauge, Scale::UNIT),
        Shape::Walk => ("1", Kind::Gauge, Scale::decimal(2)),
    };
    let mut attributes: Vec<_> =
        attribute.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    attributes.sort();
    let series = Series { metric: metric.into(), unit: unit.into(), kind, scale, attributes };
    out.push(Template { series, shape });
}

fn cpus(out: &mut Vec<Template>) {
    for cpu in 0..8 {
        for mode in ["user", "system", "idle", "iowait", "nice", "irq", "softirq", "steal"] {
            let zero = matches!(mode, "nice" | "irq" | "steal");
            let shape = if zero { Shape::Zero } else { Shape::Seconds };
            let attributes = [("cpu", cpu.to_string()), ("mode", mode.to_owned())];
            let attributes = attributes.each_ref().map(|(k, v)| (*k, v.as_str()));
            push(out, "host_cpu_seconds_total", &attributes, shape);
        }
    }
}

fn disks(out: &mut Vec<Template>) {
    for device in ["nvme0n1", "nvme1n1", "sda", "sdb"] {
        for name in [
            "reads_total",
            "writes_total",
            "read_bytes_total",
            "written_bytes_total",
            "read_time_seconds_total",
            "write_time_seconds_total",
            "io_time_seconds_total",
            "reads_merged_total",
            "writes_merged_total",
        ] {
            let shape = if name.contains("seconds") { Shape::Seconds } else { Shape::Counter };
            push(out, &format!("host_disk_{name}"), &[("device", device)], shape);
        }
        push(out, "host_disk_in_flight", &[("device", device)], Shape::Small);
    }
}

fn networks(out: &mut Vec<Template>) {
    for interface in ["eth0", "eth1", "lo", "docker0"] {
        for (names, shape) in [
            (
                ["receive_bytes", "transmit_bytes", "receive_packets", "transmit_packets"],
                Shape::Counter,
            ),
            (["receive_errors", "transmit_errors", "receive_drops", "transmit_drops"], Shape::Zero),
        ] {
            for name in names {
                push(
                    out,
                    &format!("host_network_{name}_total"),
                    &[("interface", interface)],
                    shape,
                );
            }
        }
    }
}

fn filesystems(out: &mut Vec<Template>) {
    for mountpoint in ["/", "/boot", "/var", "/home"] {
        for (name, shape) in [
            ("size_bytes", Shape::Constant),
            ("avail_bytes", Shape::Pages),
            ("files", Shape::Constant),
            ("files_free", Shape::Pages),
            ("readonly", Shape::Zero),
        ] {
            push(out, &format!("host_filesystem_{name}"), &[("mountpoint", mountpoint)], shape);
        }
    }
}

fn rest(out: &mut Vec<Template>) {
    let groups: [(&str, &str, Shape); 5] = [
        (
            "host_memory_{}_bytes",
            "MemFree MemAvailable Buffers Cached Active Inactive Active_anon Inactive_anon Dirty Writeback \
             AnonPages Mapped Shmem Slab SReclaimable SUnreclaim KernelStack PageTables Committed_AS SwapFree",
            Shape::Pages,
        ),
        ("host_memory_{}_bytes", "MemTotal SwapTotal CommitLimit HugePages_Total", Shape::Constant),
        (
            "host_{}",
            "load1 load5 load15 cpu_usage_percent memory_used_percent swap_used_percent temp_celsius fan_rpm",
            Shape::Walk,
        ),
        (
            "host_{}_total",
            "context_switches interrupts forks tcp_segments_in tcp_segments_out pgfault pgmajfault",
            Shape::Counter,
        ),
        ("host_{}", "procs_running procs_blocked tcp_established open_files", Shape::Small),
    ];
    for (pattern, names, shape) in groups {
        for name in names.split_ascii_whitespace() {
            push(out, &pattern.replace("{}", name), &[], shape);
        }
    }
    push(out, "host_boot_time_seconds", &[], Shape::Constant);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_samples() {
        let templates = templates();
        let mut twice = [Node::new(&templates, 7, 3), Node::new(&templates, 7, 3)];
        for _ in 0..5 {
            let first = twice[0].tick().to_vec();
            assert_eq!(first, twice[1].tick());
        }
    }

    #[test]
    fn every_value_survives_its_scale() {
        let templates = templates();
        let mut node = Node::new(&templates, 7, 1);
        for _ in 0..50 {
            for (value, template) in node.tick().iter().zip(&templates) {
                let scale = template.series.scale;
                assert_eq!(scale.raw(*value).map(|raw| scale.value(raw)), Some(*value));
            }
        }
    }

    #[test]
    fn counters_never_decrease() {
        let templates = templates();
        let mut node = Node::new(&templates, 7, 2);
        let mut last = node.tick().to_vec();
        for _ in 0..20 {
            for ((value, before), template) in node.tick().iter().zip(&mut last).zip(&templates) {
                assert!(template.series.kind == Kind::Gauge || value >= before);
                *before = *value;
            }
        }
    }
}
