//! What each sampler costs on this machine: `cargo bench -p flyball-agent --bench sense`, with QUICK=1 for fewer readings.
//!
//! The samplers are read in turn, as the agent does it, with pauses in which caches go cold as they do in an agent: in a tight loop each is two to four times cheaper.
//! CPU time is that of the whole process, kernel included. Idle processes are added until there are 300.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use flyball_agent::sense::{Backend, Readings, Sampler, SenseConfig, cpu_time, samplers};

const PROCESSES: usize = 300;
/// sysinfo refuses to take shares of CPU time of less than a fifth of a second.
const PAUSE: Duration = Duration::from_millis(250);

/// Idle processes that end with this.
struct Crowd(Vec<Child>);

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// One sampler and what its readings cost.
struct Measured {
    sampler: Box<dyn Sampler>,
    readings: Readings,
    costs_us: Vec<f64>,
    samples: usize,
}

impl Measured {
    fn read(&mut self) {
        self.readings.clear();
        let start = cpu_time();
        let result = self.sampler.sample(&mut self.readings);
        self.costs_us.push(spent_us(start));
        self.samples = result.map_or(0, |()| self.readings.values().len());
    }

    fn per_second(&self, amount: f64) -> f64 {
        self.sampler.period().map_or(amount, |period| amount / period.as_secs_f64())
    }
}

/// CPU time of this process since then.
fn spent_us(since: Duration) -> f64 {
    cpu_time().saturating_sub(since).as_secs_f64() * 1e6
}

fn pids() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

fn crowd() -> Crowd {
    let missing = PROCESSES.saturating_sub(pids().len());
    let idle = |_| Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
    Crowd((0..missing).filter_map(|n| idle(n).ok()).collect())
}

fn pause() {
    let (_open, nothing) = channel::<()>();
    nothing.recv_timeout(PAUSE).ok();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(backend: Backend, rounds: usize, out: &mut impl Write) -> std::io::Result<()> {
    let new = |sampler| Measured {
        sampler,
        readings: Readings::default(),
        costs_us: Vec::new(),
        samples: 0,
    };
    let all = samplers(backend, &SenseConfig::default());
    let mut all: Vec<Measured> = all.into_iter().map(new).collect();
    for round in 0..rounds + 3 {
        all.iter_mut().for_each(Measured::read);
        if round < 3 {
            for measured in &mut all {
                measured.costs_us.clear();
            }
        }
        pause();
    }
    writeln!(out, "\n### {backend:?}, {} processes, {rounds} readings\n", pids().len())?;
    writeln!(out, "| sampler | samples | us per reading: median (min-max) | us per second |")?;
    writeln!(out, "|---|---|---|---|")?;
    let (mut cpu_us, mut samples, mut inline_us, mut series) = (0.0, 0.0, 0.0, 0);
    for measured in &mut all {
        let median = median(&mut measured.costs_us);
        let (min, max) = (measured.costs_us[0], measured.costs_us[measured.costs_us.len() - 1]);
        let each_second = measured.per_second(median);
        let name = measured.sampler.name();
        let count = measured.samples;
        writeln!(out, "| {name} | {count} | {median:.1} ({min:.1}-{max:.1}) | {each_second:.1} |")?;
        cpu_us += each_second;
        samples += measured.per_second(count as f64);
        series += count;
        if measured.sampler.period().is_none() {
            inline_us += median;
        }
    }
    writeln!(
        out,
        "\n{series} series, {samples:.0} samples/s; each tick {inline_us:.0} us, in all {:.3} ms/s, {:.3} ms per 1,000 samples",
        cpu_us / 1e3,
        cpu_us / samples
    )
}

/// The two ways to read /proc/PID/stat, beside each other.
fn measure_process_files(rounds: usize, out: &mut impl Write) -> std::io::Result<()> {
    let paths: Vec<String> = pids().iter().map(|pid| format!("/proc/{pid}/stat")).collect();
    let kept: Vec<File> = paths.iter().filter_map(|path| File::open(path).ok()).collect();
    let mut buffer = [0; 1024];
    let (mut kept_us, mut opened_us) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = cpu_time();
        for file in &kept {
            file.read_at(&mut buffer, 0).ok();
        }
        kept_us.push(spent_us(start) / kept.len() as f64);
        pause();
        let start = cpu_time();
        for path in &paths {
            File::open(path).and_then(|file| file.read_at(&mut buffer, 0)).ok();
        }
        opened_us.push(spent_us(start) / paths.len() as f64);
        pause();
    }
    let (kept, opened) = (median(&mut kept_us), median(&mut opened_us));
    writeln!(out, "\n/proc/PID/stat: kept open {kept:.2} us, opened each time {opened:.2} us")
}

fn main() -> std::io::Result<()> {
    // `cargo test --benches` only wants to know whether it runs.
    let rounds = match std::env::args().any(|argument| argument == "--bench") {
        false => 1,
        true if std::env::var_os("QUICK").is_some() => 20,
        true => 80,
    };
    let _crowd = crowd();
    let mut out = std::io::stdout().lock();
    measure(Backend::Linux, rounds, &mut out)?;
    measure(Backend::Portable, rounds, &mut out)?;
    measure_process_files(rounds / 2 + 1, &mut out)
}
