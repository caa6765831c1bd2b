//! `wrk`, the way the peers were measured: one thread, 32 connections, closed loop.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// What it prints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wrk {
    /// Requests answered.
    pub(super) requests: f64,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Answers that are no 2xx or 3xx, and errors of the connections.
    pub(super) errors: f64,
}

/// Asks for one address for `time`.
///
/// # Errors
/// When wrk is missing, fails, or prints something else.
pub(super) async fn wrk(url: &str, time: Duration) -> Result<Wrk> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c32", "--latency", &format!("-d{}s", time.as_secs()), url]);
    let output = command.kill_on_drop(true).output().await.context("start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk {url}: {}\n{text}", output.status);
    parse(&text).with_context(|| format!("wrk {url}:\n{text}"))
}

/// Reads what wrk prints.
fn parse(text: &str) -> Result<Wrk> {
    let after = |mark: &str| -> Option<&str> {
        text.lines().find_map(|line| line.trim().strip_prefix(mark).map(str::trim))
    };
    let percentile = |mark| milliseconds(after(mark).context("a percentile")?);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let refused = after("Non-2xx or 3xx responses:").map_or(Ok(0.0), str::parse::<f64>)?;
    Ok(Wrk {
        requests: requests.context("the number of requests")?.0.parse()?,
        rate: after("Requests/sec:").context("the rate")?.parse()?,
        p50_ms: percentile("50%")?,
        p99_ms: percentile("99%")?,
        errors: refused + after("Socket errors:").map_or(0.0, sum_of_numbers),
    })
}

/// `connect 0, read 12, write 0, timeout 3` adds up to 15.
fn sum_of_numbers(text: &str) -> f64 {
    let words = text.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse::<f64>().ok()).sum()
}

/// `1.25ms`, `250.00us`, `2.5s`, `1.2m`.
fn milliseconds(text: &str) -> Result<f64> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).context("a unit")?;
    let (value, unit) = text.split_at(digits);
    let factor = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 6e4,
        _ => anyhow::bail!("unknown unit {unit:?}"),
    };
    Ok(value.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 10s test @ http://127.0.0.1:8080/healthz
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   661.52us    1.52ms  41.29ms   97.11%
    Req/Sec    63.83k     7.13k   71.86k    84.00%
  Latency Distribution
     50%  410.00us
     75%  580.00us
     90%    0.89ms
     99%    8.31ms
  635077 requests in 10.01s, 83.58MB read
Requests/sec:  63438.51
Transfer/sec:      8.35MB
";

    #[test]
    fn a_run_without_errors_is_read() {
        let wrk = parse(GOOD).unwrap();
        let expected =
            Wrk { requests: 635_077.0, rate: 63_438.51, p50_ms: 0.41, p99_ms: 8.31, errors: 0.0 };
        assert!((wrk.p50_ms - expected.p50_ms).abs() < 1e-9, "{wrk:?}");
        assert_eq!(Wrk { p50_ms: expected.p50_ms, ..wrk }, expected);
    }

    #[test]
    fn refusals_and_errors_of_connections_add_up() {
        let errors = "  Socket errors: connect 0, read 12, write 0, timeout 3\n  \
                      Non-2xx or 3xx responses: 7\nRequests/sec:";
        let wrk = parse(&GOOD.replace("Requests/sec:", errors)).unwrap();
        assert!((wrk.errors - 22.0).abs() < 1e-9, "{wrk:?}");
    }

    #[test]
    fn units_are_read_and_unknown_ones_are_not() {
        let ms = |text| milliseconds(text).ok();
        assert_eq!(ms("1.50s").map(f64::round), Some(1_500.0));
        assert_eq!(ms("2.00m").map(f64::round), Some(120_000.0));
        assert_eq!((ms("3h"), ms("3"), ms("x")), (None, None, None));
        assert!(parse("unable to connect").is_err());
    }
}
