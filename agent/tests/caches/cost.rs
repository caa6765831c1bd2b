//! What a reading costs, as a figure to look at: `cargo nextest run -p flyball-agent cost --no-capture`.

use std::time::{Duration, Instant};

use crate::harness::{Observed, Server, run};

const READINGS: u32 = 200;

fn cpu_of(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn what_a_reading_costs() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for n in 0..40 {
        run(&mut client, &["SET", &format!("k{n}"), "v", "EX", "1000"]);
        run(&mut client, &["HSET", &format!("h{n}"), "f", "v"]);
        run(&mut client, &["ZADD", &format!("z{n}"), "1", "v"]);
    }
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "up");
    observed.take_cpu();
    let info = run(&mut client, &["INFO", "server"]);
    let info = String::from_utf8(info.text().unwrap().to_vec()).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap();
    let (server_before, start) = (cpu_of(pid), Instant::now());
    let before = flyball_agent::sense::cpu_time();
    for _ in 0..READINGS {
        observed.read();
    }
    let per_reading = |time: Duration| (time / READINGS).as_micros();
    println!(
        "{READINGS} readings, {} values in the last one: agent {} us each, of that {} us on the instance's thread; redis {} us each; {} us from end to end",
        observed.values.len(),
        per_reading(flyball_agent::sense::cpu_time().saturating_sub(before)),
        per_reading(observed.take_cpu()),
        per_reading(cpu_of(pid).saturating_sub(server_before)),
        per_reading(start.elapsed()),
    );
    assert!(observed.values.len() > 60);
}
