//! One HAProxy under `leastconn`: nothing that looks at windows of seconds beats what looks at every request, so Flyball must leave it alone and say so.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::scene::{Scene, counted};
use super::{ONE_BAR, Options, arm, say, wait};
use crate::balance::{Algorithm, Flyball};
use crate::bench::table::{Bar, Table};
use crate::bench::temporary;

const KIND: &str = "balancer.weights";

/// Both ways, round by round.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    let scene = Scene::one();
    for round in 0..options.rounds {
        let mut p99 = [f64::NAN; 2];
        let order = if round % 2 == 0 { [false, true] } else { [true, false] };
        for is_ours in order {
            let name = if is_ours { "leastconn and Flyball" } else { "leastconn" };
            let what = format!("{}: {name}, round {} of {}", scene.name, round + 1, options.rounds);
            let dir = temporary()?;
            let equal = vec![100; scene.specs.len()];
            let stage = scene.set(dir.path(), Algorithm::LeastConn, &equal, options.load).await?;
            let flyball = if is_ours { Some(arm::watching(&stage).await?) } else { None };
            wait(&format!("{what}, warm"), options.warm).await;
            if let Some(flyball) = &flyball {
                let said = left_alone(flyball).await?;
                say(&format!("{what}: {}", said.as_deref().unwrap_or("weights are suggested")));
                let is_said = f64::from(said.is_some());
                let name = format!("{}: leastconn is left alone, and why is said", scene.name);
                table.add(&name, is_said, Some(Bar::AtLeast(1.0)));
            }
            let run = stage.measure(&what, options.seconds).await?;
            if let Some(flyball) = flyball {
                flyball.stack.stop().await?;
            }
            let Some(figures) = counted(table, scene.name, options, &run) else { continue };
            p99[usize::from(is_ours)] = figures.p99_ms;
            let row = |figure: &str| format!("{}, {name}: {figure}", scene.name);
            table.add(&row("p50, ms"), figures.p50_ms, None);
            table.add(&row("p99, ms"), figures.p99_ms, None);
            table.add(&row("requests failed"), figures.failed as f64, Some(Bar::Never));
        }
        let name = format!("{}, leastconn and Flyball: p99 / p99 of leastconn alone", scene.name);
        table.add(&name, p99[1] / p99[0], Some(Bar::AtMost(ONE_BAR)));
    }
    Ok(())
}

/// Why there is no suggestion; `None` when there is one.
pub(super) async fn left_alone(flyball: &Flyball) -> Result<Option<String>> {
    let answer = flyball.api().posted("/api/performance/optimize", &json!({})).await?;
    let of_kind = |field: &str| -> Vec<Value> {
        let all = answer[field].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|one| one["kind"] == KIND).collect()
    };
    if !of_kind("suggestions").is_empty() {
        return Ok(None);
    }
    let skipped = of_kind("skipped");
    let reason = skipped.iter().find_map(|one| one["reason"].as_str());
    Ok(Some(reason.with_context(|| format!("no reason: {answer}"))?.to_owned()))
}
