//! What a reading of a Redis and of a memcached costs, here and there: `cargo bench -p flyball-agent --bench caches`, with QUICK=1 for fewer readings.
//!
//! The servers are real ones on this machine. CPU time is that of the whole process, kernel included, and of all threads of the server. Readings have pauses between them, in which
//! caches go cold as they do in an agent. Every tenth reading also asks for what costs more.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use flyball_agent::redis::{Connection, Instance, RedisConfig};
use flyball_agent::sense::{
    MemcachedConfig, MemcachedServer, Readings, Sampler, SenseConfig, cpu_time, patience, servers,
};
use flyball_agent::steer::SteerConfig;
use flyball_agent::steer::actuator::Actuator as _;
use flyball_agent::steer::redis::RedisActuator;

const PAUSE: Duration = Duration::from_millis(250);
const START: Duration = Duration::from_secs(20);
/// Different commands that the Redis has seen: each has statistics of its own.
const COMMANDS: [&str; 20] = [
    "GET k",
    "SET k v",
    "MGET k l",
    "DEL l",
    "EXISTS k",
    "EXPIRE k 1000",
    "TTL k",
    "INCR n",
    "HSET h f v",
    "HGET h f",
    "HGETALL h",
    "LPUSH q v",
    "LRANGE q 0 9",
    "SADD s v",
    "SMEMBERS s",
    "ZADD z 1 v",
    "ZRANGE z 0 9",
    "SETEX e 1000 v",
    "STRLEN k",
    "PING",
];

/// A server that ends with this.
struct Server(Child, u16);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Server {
    fn start(program: &str, arguments: impl Fn(&str) -> Vec<String>) -> std::io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(arguments(&port.to_string())).stdin(Stdio::null()).stdout(Stdio::null());
        let server = Self(command.spawn()?, port);
        let deadline = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() && Instant::now() < deadline {
            pause();
        }
        Ok(server)
    }

    /// CPU time of all its threads.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id()));
        let of = |path: std::path::PathBuf| -> Option<u64> {
            let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        let tasks = tasks.into_iter().flatten().flatten();
        Duration::from_nanos(tasks.filter_map(|task| of(task.path())).sum())
    }
}

fn pause() {
    let (_open, nothing) = channel::<()>();
    nothing.recv_timeout(PAUSE).ok();
}

/// Median, least and most.
fn figures(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match values[..] {
        [] => "-".to_owned(),
        [min, ..] => {
            let (median, max) = (values[values.len() / 2], values[values.len() - 1]);
            format!("{median:.0} ({min:.0}-{max:.0})")
        }
    }
}

fn measure(
    name: &str,
    mut sampler: Box<dyn Sampler>,
    server: &Server,
    rounds: usize,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let mut readings = Readings::default();
    // Agent, server, from end to end; of readings without the detail and with it.
    let mut costs: [[Vec<f64>; 3]; 2] = Default::default();
    let (mut least, mut most) = (usize::MAX, 0);
    for round in 0..rounds + 3 {
        readings.clear();
        // Reading the server's time costs CPU time of ours.
        let other = server.cpu();
        let (start, agent) = (Instant::now(), cpu_time());
        if sampler.sample(&mut readings).is_err() {
            continue;
        }
        let took = start.elapsed();
        let spent = [cpu_time().saturating_sub(agent), server.cpu().saturating_sub(other), took];
        let count = readings.values().len();
        (least, most) = (least.min(count), most.max(count));
        if round >= 3 {
            let of = &mut costs[usize::from(count > least)];
            for (all, spent) in of.iter_mut().zip(spent) {
                all.push(spent.as_secs_f64() * 1e6);
            }
        }
        pause();
    }
    for (costs, (what, samples)) in costs.into_iter().zip([("", least), (", every tenth", most)]) {
        let [agent, server, took] = costs.map(figures);
        writeln!(out, "| {name}{what} | {samples} | {agent} | {server} | {took} |")?;
    }
    Ok(())
}

/// What a look of steering costs: all that may be set, and what the rules need to know.
fn measure_look(
    mut actuator: RedisActuator,
    server: &Server,
    rounds: usize,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let mut costs: [Vec<f64>; 3] = Default::default();
    let mut settings = 0;
    for round in 0..rounds + 3 {
        let other = server.cpu();
        let (start, agent) = (Instant::now(), cpu_time());
        let reading = actuator.read().map_err(std::io::Error::other)?;
        let took = start.elapsed();
        let spent = [cpu_time().saturating_sub(agent), server.cpu().saturating_sub(other), took];
        settings = reading.in_force.len();
        if round >= 3 {
            for (all, spent) in costs.iter_mut().zip(spent) {
                all.push(spent.as_secs_f64() * 1e6);
            }
        }
        pause();
    }
    let [agent, server, took] = costs.map(figures);
    writeln!(out, "| redis, a look of steering | {settings} | {agent} | {server} | {took} |")
}

fn main() -> std::io::Result<()> {
    // `cargo test --benches` only wants to know whether it runs.
    let rounds = match std::env::args().any(|argument| argument == "--bench") {
        false => 12,
        true if std::env::var_os("QUICK").is_some() => 40,
        true => 160,
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\n| server | samples | agent, us a reading | server, us | from end to end, us |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let server = Server::start("redis-server", |port| {
        words(&format!("--port {port} --save --appendonly no --bind 127.0.0.1"))
    })?;
    let url = format!("redis://127.0.0.1:{}", server.1);
    let config = RedisConfig { name: "a".to_owned(), url, ..RedisConfig::default() };
    let other = std::io::Error::other::<String>;
    let instance = Instance::new(config, &std::env::temp_dir()).map_err(other)?;
    let mut client = Connection::open(&instance).map_err(|error| other(error.to_string()))?;
    for command in COMMANDS {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        client.call(&words).map_err(|error| other(error.to_string()))?;
    }
    let patience = patience(Duration::from_secs(1));
    for sampler in servers(std::slice::from_ref(&instance), &[], &[], patience) {
        measure("redis", sampler, &server, rounds, &mut out)?;
    }
    let paths = SenseConfig::default().paths;
    let actuator = RedisActuator::new(instance, &SteerConfig::default(), &paths);
    measure_look(actuator, &server, rounds, &mut out)?;
    let server =
        Server::start("memcached", |port| words(&format!("-u root -l 127.0.0.1 -U 0 -p {port}")))?;
    let mut client = TcpStream::connect(("127.0.0.1", server.1))?;
    for bytes in [3, 300, 3_000, 30_000] {
        let value = "x".repeat(bytes);
        client.write_all(format!("set k{bytes} 0 0 {bytes} noreply\r\n{value}\r\n").as_bytes())?;
    }
    let address = format!("127.0.0.1:{}", server.1);
    let config = MemcachedConfig { name: "a".to_owned(), address };
    let memcached = MemcachedServer::new(&config, &std::env::temp_dir());
    let memcached = memcached.map_err(|reason| other(reason.to_owned()))?;
    for sampler in servers(&[], &[memcached], &[], patience) {
        measure("memcached", sampler, &server, rounds, &mut out)?;
    }
    Ok(())
}
