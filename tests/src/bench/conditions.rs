//! Under which conditions a table was measured, in the form of docs/BENCHMARKS.md: command, build, machine, date, versions of peers.
//!
//! What cannot be found out is left out. The commit is that of the tree in which the benchmark runs, which `make bench` has built.

use std::process::Command;

/// A program and the arguments with which it says its version.
pub type Asked<'a> = (&'a str, Command);

/// One line for people; `tools` are asked for their versions.
pub fn words(tools: Vec<Asked<'_>>) -> String {
    let mut parts = vec![format!("`{}`", command(std::env::args())), build()];
    parts.extend(machine());
    parts.extend(first_line(Command::new("date").args(["-u", "+%-d %B %Y"]).env("LC_ALL", "C")));
    if let Some(load) = read("/proc/loadavg").and_then(|text| first_word(&text)) {
        parts.push(format!("load average {load} when it began"));
    }
    for (name, mut command) in tools {
        let version = first_line(&mut command).and_then(|line| version(&line));
        parts.extend(version.map(|version| format!("{name} {version}")));
    }
    format!("{}; median (min to max):", parts.join(", "))
}

/// As a person would type it.
fn command(mut arguments: impl Iterator<Item = String>) -> String {
    let program = arguments.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(name).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn build() -> String {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let git = |arguments: &[&str]| first_line(Command::new("git").args(arguments));
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return format!("{profile} build");
    };
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
    let changed = if is_changed { " with changes" } else { "" };
    format!("{profile} build of {commit}{changed}")
}

fn machine() -> Option<String> {
    let cores = std::thread::available_parallelism().ok()?;
    let model = field(&read("/proc/cpuinfo")?, "model name")?;
    let kilobytes = field(&read("/proc/meminfo")?, "MemTotal")?;
    let gigabytes = first_word(&kilobytes)?.parse::<f64>().ok()? / f64::from(1 << 20);
    let kernel = read("/proc/sys/kernel/osrelease")?;
    Some(format!("{cores} vCPUs ({model}), {gigabytes:.0} GB, Linux {}", kernel.trim()))
}

/// The value of a line `NAME: VALUE`, with any blanks around the colon.
fn field(text: &str, name: &str) -> Option<String> {
    let of = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(of)
}

/// The first word, or part of one between slashes, that is numbers with dots between.
fn version(line: &str) -> Option<String> {
    let is_version = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.') && !word.contains(':')
    };
    line.split([' ', '/']).find(is_version).map(str::to_owned)
}

fn first_word(text: &str) -> Option<String> {
    text.split_whitespace().next().map(str::to_owned)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// First line of what a program says, when it says anything and succeeds.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_without_its_directory() {
        let arguments = ["target/release/flyball-bench", "balance", "--case", "kills"];
        let told = command(arguments.into_iter().map(str::to_owned));
        assert_eq!(told, "flyball-bench balance --case kills");
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let haproxy = "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/";
        assert_eq!(version(haproxy).as_deref(), Some("2.6.12-1+deb12u4"));
        let envoy = "envoy  version: 9a2c/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(version(envoy).as_deref(), Some("1.40.0"));
        assert_eq!(version("1.85.3").as_deref(), Some("1.85.3"));
        assert_eq!(version("nothing"), None);
    }

    #[test]
    fn machine_build_and_date_are_told() {
        let told = words(vec![("cargo", Command::new("no-such-program"))]);
        for part in [" build", " vCPUs (", " GB, Linux ", "load average ", " 20"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        assert!(!told.contains("cargo"), "{told}");
        assert_eq!(field("a\t: 1 kB\nb: 2", "a").as_deref(), Some("1 kB"));
    }
}
