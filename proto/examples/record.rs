//! Records this Linux host once a second into a capture, the input of the codec's benches and size bars.
//!
//! `cargo run -p flyball-proto --example record -- 300 [sleep_ms] | gzip -9 > busy.capture.gz`
//!
//! The mix is that of an agent: CPU times in hundredths of a second, shares in ten-thousandths, memory in kibibytes, disks, networks,
//! pressure in microseconds, a few true floats, and every fifth tick the twenty busiest processes, which come and go. Lines of a capture:
//!
//! - `# text`: a remark
//! - `series SLOT METRIC KIND SCALE KEY=VALUE,..`: defines the next slot
//! - `retire SLOT`: the slot is not sampled any more
//! - `tick TS_MS TOKEN..`: one token for each slot defined so far: `.` not sampled, `=` unchanged, else the difference from the slot's last sampled raw integer (from 0 at first)

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

const FLOAT: i32 = -128;
const KIBI: i32 = -10;
const PROCESSES: usize = 20;
const PROCESS_PERIOD: u64 = 5;

/// Series by name, their last values, and the values of the tick under way.
#[derive(Default)]
struct Capture {
    slots: HashMap<String, usize>,
    last: Vec<i64>,
    now: Vec<Option<i64>>,
    definitions: String,
}

impl Capture {
    fn set(&mut self, metric: &str, kind: &str, scale: i32, attributes: &str, raw: i64) {
        let key = format!("{metric} {kind} {scale} {attributes}");
        let next = self.last.len();
        let slot = *self.slots.entry(key).or_insert_with_key(|key| {
            let _ = writeln!(self.definitions, "series {next} {key}");
            self.last.push(0);
            self.now.push(None);
            next
        });
        self.now[slot] = Some(raw);
    }

    fn retire(&mut self, prefix: &str) {
        let gone: Vec<_> = self.slots.keys().filter(|k| k.contains(prefix)).cloned().collect();
        for key in gone {
            if let Some(slot) = self.slots.remove(&key) {
                let _ = writeln!(self.definitions, "retire {slot}");
            }
        }
    }

    fn finish(&mut self, ts_ms: u128) -> String {
        let mut text = std::mem::take(&mut self.definitions);
        let _ = write!(text, "tick {ts_ms}");
        for (now, last) in self.now.iter_mut().zip(&mut self.last) {
            match now.take() {
                None => text.push_str(" ."),
                Some(raw) if raw == *last => text.push_str(" ="),
                Some(raw) => {
                    let _ = write!(text, " {}", raw.wrapping_sub(*last));
                    *last = raw;
                }
            }
        }
        text.push('\n');
        text
    }
}

/// What the samplers keep between ticks.
#[derive(Default)]
struct State {
    cpu: Vec<i64>,
    processes: HashMap<String, i64>,
    shown: Vec<String>,
}

fn integers(text: &str) -> Vec<i64> {
    text.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect()
}

fn hundredths(text: &str) -> i64 {
    text.parse::<f64>().map_or(0, |value| (value * 100.0).round() as i64)
}

fn cpu(capture: &mut Capture, state: &mut State) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string("/proc/stat")?;
    let modes = ["user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"];
    for line in text.lines() {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let values = integers(rest);
        match name.strip_prefix("cpu") {
            Some("") => {
                let deltas: Vec<_> = values.iter().zip(&state.cpu).map(|(a, b)| a - b).collect();
                let total: i64 = deltas.iter().take(8).sum();
                for (mode, delta) in modes.iter().zip(&deltas).filter(|_| total > 0) {
                    let share = (*delta * 10_000 + total / 2) / total;
                    let mode = format!("cpu.mode={mode}");
                    capture.set("system.cpu.utilization", "gauge", 4, &mode, share);
                }
                state.cpu = values;
            }
            Some(number) => {
                for (mode, value) in modes.iter().zip(&values) {
                    let attributes = format!("cpu.logical_number={number},cpu.mode={mode}");
                    capture.set("system.cpu.time", "counter", 2, &attributes, *value);
                }
            }
            None if name == "intr" || name == "softirq" => {
                capture.set(&format!("system.cpu.{name}"), "counter", 0, "", values[0]);
            }
            None => {
                let kind = if name.starts_with("procs_") { "gauge" } else { "counter" };
                capture.set(&format!("system.{name}"), kind, 0, "", values[0]);
            }
        }
    }
    Ok(())
}

fn memory(capture: &mut Capture) -> Result<(), Box<dyn Error>> {
    let mut read = HashMap::new();
    let text = fs::read_to_string("/proc/meminfo")?;
    for line in text.lines() {
        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
        let value = integers(rest).first().copied().unwrap_or(0);
        read.insert(name, value);
        capture.set("system.linux.meminfo", "gauge", KIBI, &format!("field={name}"), value);
    }
    let total = read["MemTotal"].max(1);
    let used = total - read["MemAvailable"];
    for (state, value) in [("used", used), ("free", read["MemFree"]), ("cached", read["Cached"])] {
        let attributes = format!("system.memory.state={state}");
        capture.set("system.memory.usage", "gauge", KIBI, &attributes, value);
        let share = value * 10_000 / total;
        capture.set("system.memory.utilization", "gauge", 4, &attributes, share);
    }
    for line in fs::read_to_string("/proc/vmstat")?.lines() {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let gauge = name.starts_with("nr_") && !matches!(name, "nr_dirtied" | "nr_written");
        let wanted = ["nr_", "pg", "pswp", "thp_fault", "workingset", "numa_hit", "numa_local"];
        if wanted.iter().any(|prefix| name.starts_with(prefix)) {
            let kind = if gauge { "gauge" } else { "counter" };
            let attributes = format!("field={name}");
            capture.set("system.linux.vmstat", kind, 0, &attributes, integers(rest)[0]);
        }
    }
    Ok(())
}

fn disk_and_network(capture: &mut Capture) -> Result<(), Box<dyn Error>> {
    for line in fs::read_to_string("/proc/diskstats")?.lines() {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        if fields[2].starts_with("loop") {
            continue;
        }
        let field = |index: usize| fields[index].parse().unwrap_or(0_i64);
        let device = format!("system.device={}", fields[2]);
        capture.set("system.disk.io_time", "counter", 3, &device, field(12));
        for (direction, at) in [("read", 3), ("write", 7)] {
            let attributes = format!("disk.io.direction={direction},{device}");
            capture.set("system.disk.operations", "counter", 0, &attributes, field(at));
            capture.set("system.disk.io", "counter", -9, &attributes, field(at + 2));
            capture.set("system.disk.operation_time", "counter", 3, &attributes, field(at + 3));
        }
    }
    for line in fs::read_to_string("/proc/net/dev")?.lines().skip(2) {
        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
        let values = integers(rest);
        for (direction, at) in [("receive", 0), ("transmit", 8)] {
            let attributes =
                format!("network.interface.name={},network.io.direction={direction}", name.trim());
            for (metric, index) in
                [("io", 0), ("packet.count", 1), ("errors", 2), ("packet.dropped", 3)]
            {
                let metric = format!("system.network.{metric}");
                capture.set(&metric, "counter", 0, &attributes, values[at + index]);
            }
        }
    }
    Ok(())
}

fn pressure_and_load(capture: &mut Capture) -> Result<(), Box<dyn Error>> {
    for resource in ["cpu", "memory", "io"] {
        for line in fs::read_to_string(format!("/proc/pressure/{resource}"))?.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let attributes =
                format!("flyball.pressure.kind={kind},flyball.pressure.resource={resource}");
            for (name, value) in rest.split(' ').filter_map(|field| field.split_once('=')) {
                if name == "total" {
                    let total = value.parse()?;
                    capture.set("flyball.pressure.time", "counter", 6, &attributes, total);
                } else if name == "avg10" {
                    capture.set(
                        "flyball.pressure.avg10",
                        "gauge",
                        4,
                        &attributes,
                        hundredths(value),
                    );
                }
            }
        }
    }
    let load = fs::read_to_string("/proc/loadavg")?;
    for (minutes, value) in ["1m", "5m", "15m"].iter().zip(load.split(' ')) {
        let metric = format!("system.cpu.load_average.{minutes}");
        capture.set(&metric, "gauge", 2, "", hundredths(value));
    }
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime = uptime.split(' ').next().map_or(0, hundredths);
    capture.set("system.uptime", "gauge", 2, "", uptime);
    Ok(())
}

fn processes(capture: &mut Capture, state: &mut State) -> Result<(), Box<dyn Error>> {
    let mut seen = HashMap::new();
    let mut busiest = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = text.rsplit_once(") ") else { continue };
        let fields: Vec<_> = rest.split(' ').collect();
        let field = |index: usize| fields.get(index).and_then(|f| f.parse().ok()).unwrap_or(0_i64);
        let ticks = field(11) + field(12);
        let used = ticks - state.processes.get(&pid).copied().unwrap_or(ticks);
        busiest.push((used, field(21) * 4, pid.clone()));
        seen.insert(pid, ticks);
    }
    state.processes = seen;
    busiest.sort_by(|a, b| b.cmp(a));
    busiest.truncate(PROCESSES);
    for pid in &state.shown {
        if !busiest.iter().any(|(_, _, shown)| shown == pid) {
            capture.retire(&format!("process.pid={pid},"));
        }
    }
    state.shown = busiest.iter().map(|(_, _, pid)| pid.clone()).collect();
    for (used, memory_kib, pid) in busiest {
        let attributes = format!("process.pid={pid},");
        let share = used * 10_000 / (100 * PROCESS_PERIOD as i64);
        capture.set("process.cpu.utilization", "gauge", 4, &attributes, share);
        capture.set("process.memory.usage", "gauge", KIBI, &attributes, memory_kib);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let ticks: u64 = std::env::args().nth(1).map_or(Ok(300), |text| text.parse())?;
    let period = Duration::from_millis(std::env::args().nth(2).map_or(Ok(1000), |t| t.parse())?);
    let mut out = std::io::stdout().lock();
    let mut capture = Capture::default();
    let mut state = State::default();
    let start = Instant::now();
    let start_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    for tick in 0..ticks {
        let due = period * tick as u32;
        #[allow(clippy::disallowed_methods, reason = "a recorder waits for time itself")]
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let begun = Instant::now();
        cpu(&mut capture, &mut state)?;
        memory(&mut capture)?;
        disk_and_network(&mut capture)?;
        pressure_and_load(&mut capture)?;
        if tick % PROCESS_PERIOD == 0 {
            processes(&mut capture, &mut state)?;
        }
        for (metric, value) in [
            ("flyball.agent.sampling.jitter", (begun - start).saturating_sub(due).as_secs_f64()),
            ("flyball.agent.sampler.duration", begun.elapsed().as_secs_f64()),
        ] {
            capture.set(metric, "gauge", FLOAT, "", value.to_bits() as i64);
        }
        out.write_all(capture.finish(start_ms + due.as_millis()).as_bytes())?;
    }
    Ok(())
}
