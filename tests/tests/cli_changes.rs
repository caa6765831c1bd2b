//! The command line's part in the life of a change, against a real collector: look, show, decide, follow, take back, and the log of it all.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::command::{command, flyball};
use flyball_tests::shape;
use flyball_tests::stack::Stack;
use flyball_tests::steered::{MIB, QUICK, Steered, perverse};
use flyball_tests::terminal::Terminal;
use flyball_tests::wait::{SOON, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Where answers for the tests of the command line are.
const ANSWERS: &str = "cli/answers";

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

/// Keeps what the API answers to a GET.
async fn keep(stack: &Stack, name: &str, path: &str) -> Result<Value> {
    let answer = stack.collector.api.json(&format!("/api/performance/{path}")).await?;
    shape::check(&format!("{ANSWERS}/{name}.json"), &answer)?;
    Ok(answer)
}

/// A collector whose rollouts are quick, but for these settings.
async fn start(more: &[(&str, &str)]) -> Result<Stack> {
    Stack::start_with(&[&QUICK, more].concat()).await
}

#[tokio::test]
async fn a_change_is_found_shown_confirmed_and_followed_to_its_promotion() -> Result<()> {
    let stack = start(&[]).await?;
    let server = stack.collector.api.base();
    let none = flyball(server, &["caches"]).await?;
    ensure!(none.code == Some(0) && none.err.contains("add [[redis]]"), "{none:?}");
    let world = Steered::begin(stack.collector.grpc, "web-1", "sessions").await?;

    let look = json!({"scope": "all", "dry_run": true});
    let tried = until("a try", SOON, || async {
        let answer = stack.collector.api.posted("/api/performance/optimize", &look).await?;
        ensure!(answer["suggestions"].get(0).is_some(), "{answer}");
        Ok(answer)
    })
    .await?;
    shape::check(&format!("{ANSWERS}/optimize.json"), &tried)?;
    let dry = flyball(server, &["optimize", "--target", "sessions", "--dry-run"]).await?;
    ensure!(dry.told(&["sessions on web-1", "PASSED OVER"]), "{dry:?}");
    ensure!(dry.err.contains("only tried"), "{dry:?}");
    let found = flyball(server, &["optimize"]).await?;
    ensure!(found.told(&["proposed", "maxmemory 64 MiB → ", "points"]), "{found:?}");

    let list = keep(&stack, "suggestions", "suggestions").await?;
    let id = text(&list["suggestions"][0]["id"])?;
    keep(&stack, "suggestion", &format!("suggestions/{id}")).await?;
    let listed = flyball(server, &["suggestions", "--status", "proposed", "--target", "sessions"]);
    ensure!(listed.await?.told(&[id, "sessions on web-1"]), "{id}");
    let shown = flyball(server, &["show", id]).await?;
    let parts = ["promise", "in 90 % of cases", "never tried here", "risk", "undo", "EVIDENCE"];
    ensure!(shown.told(&parts), "{shown:?}");
    ensure!(shown.told(&["▲ now 64 MiB", "then ", "flyball confirm"]), "{shown:?}");

    keep(&stack, "caches", "cache").await?;
    let caches = flyball(server, &["caches"]).await?;
    ensure!(caches.told(&["sessions", "of 64 MiB", "81 % capacity", "at 128 MiB"]), "{caches:?}");
    let one = flyball(server, &["caches", "sessions"]).await?;
    ensure!(one.told(&["▲ now 64 MiB", "twice as much: ", "keys that stand out"]), "{one:?}");
    let other = flyball(server, &["caches", "other"]).await?;
    ensure!(other.failed_with(1, &["no cache is other"]), "{other:?}");

    let followed = flyball(server, &["confirm", id, "--note", "a test", "--watch"]).await?;
    let parts = ["began", "step", "offered to web-1", "judging", "pass", "promoted"];
    ensure!(followed.told(&parts), "{followed:?}");
    ensure!(world.server.limit() > 64 * MIB);
    let again = flyball(server, &["confirm", id]).await?;
    ensure!(again.failed_with(1, &["is confirmed", "`flyball show ID`"]), "{again:?}");

    let rollout = id.replace("s-", "r-");
    keep(&stack, "rollout-promoted", &format!("rollouts/{rollout}")).await?;
    let shown = flyball(server, &["show", &rollout]).await?;
    ensure!(shown.told(&["as promised", "without it", "without the change", "pass"]), "{shown:?}");
    let decided = flyball(server, &["show", id]).await?;
    ensure!(decided.told(&["by operator from 127.0.0.1", "a test", &rollout]), "{decided:?}");
    let all = flyball(server, &["rollouts", "--target", "sessions"]).await?;
    ensure!(all.told(&[&rollout, "promoted", "pass"]), "{all:?}");
    keep(&stack, "policies", "policies").await?;
    let policies = flyball(server, &["policies"]).await?;
    ensure!(policies.told(&["web-1", "watches", "redis sessions", "applied"]), "{policies:?}");
    keep(&stack, "audit", "audit?verify=true").await?;
    let audit = flyball(server, &["audit", "--verify", "--subject", &rollout]).await?;
    ensure!(audit.told(&["whole: ", "hash ", "→ promoted", "judge"]), "{audit:?}");
    drop(world);
    stack.stop().await
}

#[tokio::test]
async fn a_change_that_harms_is_told_to_be_taken_back_and_the_code_says_so() -> Result<()> {
    let stack = start(&[]).await?;
    let server = stack.collector.api.base();
    let world = Steered::begin(stack.collector.grpc, "web-1", "sessions").await?;
    *world.server.law.lock() = perverse;
    let suggestion = world.suggestion(&stack.collector.api).await?;
    let id = text(&suggestion["id"])?;
    let followed = flyball(server, &["-o", "json", "confirm", id, "--watch"]).await?;
    ensure!(followed.failed_with(1, &["has rolled back"]), "{followed:?}");
    let states: Vec<Value> =
        followed.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(states.len() > 2 && states[0]["state"] == "canary", "{followed:?}");
    let last = states.last().context("a last one")?;
    ensure!(last["state"] == "rolled_back" && last["type"].is_null(), "{last}");

    let rollout = id.replace("s-", "r-");
    keep(&stack, "rollout-rolled-back", &format!("rollouts/{rollout}")).await?;
    let shown = flyball(server, &["show", &rollout]).await?;
    ensure!(
        shown.told(&["harm", "less than promised", "the old values were read back"]),
        "{shown:?}"
    );
    ensure!(world.server.limit() == 64 * MIB);
    let optimize = flyball(server, &["optimize", "--target", "sessions"]).await?;
    ensure!(optimize.told(&["PASSED OVER", "cache.size"]), "{optimize:?}");
    let over = flyball(server, &["rollback", &rollout]).await?;
    ensure!(over.failed_with(1, &["is rolled_back", "how it ended"]), "{over:?}");
    let free = flyball(server, &["unlock", "sessions"]).await?;
    ensure!(free.failed_with(1, &["is not locked"]), "{free:?}");
    drop(world);
    stack.stop().await
}

#[tokio::test]
async fn a_rollout_is_followed_in_a_terminal_paused_resumed_and_taken_back() -> Result<()> {
    let stack = start(&[("FLYBALL_ROLLOUT_HOLD_MS", "600000")]).await?;
    let server = stack.collector.api.base();
    let world = Steered::begin(stack.collector.grpc, "web-1", "sessions").await?;
    let suggestion = world.suggestion(&stack.collector.api).await?;
    let id = text(&suggestion["id"])?;
    let rollout = id.replace("s-", "r-");

    let watch = Terminal::start(command(server, &["confirm", id, "--watch"])?, 120, 30)?;
    watch.wait_for("applying › [holding] › judging › sealing").await?;
    watch.wait_for(" left at most").await?;
    keep(&stack, "rollout-going", &format!("rollouts/{rollout}")).await?;
    let paused = flyball(server, &["pause", &rollout, "--note", "wait"]).await?;
    ensure!(paused.told(&["is paused", &format!("flyball resume {rollout}")]), "{paused:?}");
    watch.wait_for("[paused]").await?;
    let again = flyball(server, &["pause", &rollout]).await?;
    ensure!(again.failed_with(1, &["is paused", "`flyball resume ID`"]), "{again:?}");
    let shown = flyball(server, &["show", &rollout]).await?;
    ensure!(shown.told(&["canary, paused", "flyball resume"]), "{shown:?}");
    ensure!(flyball(server, &["resume", &rollout]).await?.told(&["goes on"]));
    watch.wait_for("[holding]").await?;
    watch.signal(Signal::INT)?;
    watch.wait_for("goes on without being watched").await?;
    let status = watch.wait_restored(SOON).await?;
    ensure!(status.code() == Some(1), "after ctrl-c: {status}");

    let back = flyball(server, &["rollback", &rollout, "--note", "enough", "--watch"]).await?;
    ensure!(back.told(&["rolled_back", "operator wants the old values back"]), "{back:?}");
    ensure!(world.server.limit() == 64 * MIB);
    drop(world);
    stack.stop().await
}

#[tokio::test]
async fn a_person_proposes_a_change_which_goes_the_way_of_every_other() -> Result<()> {
    let stack = start(&[]).await?;
    let server = stack.collector.api.base();
    let world = Steered::begin(stack.collector.grpc, "web-1", "sessions").await?;
    let propose = ["propose", "sessions"];
    until("the agent to watch", SOON, || async {
        let far = flyball(server, &[&propose[..], &["maxmemory=1"]].concat()).await?;
        ensure!(far.failed_with(2, &["\n  maxmemory: "]), "{far:?}");
        Ok(())
    })
    .await?;
    let wrong: [(&[&str], i32, &[&str]); 7] = [
        (&["maxmemory"], 2, &["maxmemory is no PARAMETER=VALUE"]),
        (&["maxmemory=lots"], 2, &["lots is no size; write 128mb"]),
        (&["maxmemory=128mb", "--from", "save=1"], 2, &["--from tells of save"]),
        (&["maxmemory=128mb", "--expect", "92"], 2, &["--expect 92 is no hit ratio"]),
        (&["save=1"], 2, &["\n  save: its agent may set only", "maxmemory"]),
        (&["maxmemory=64mb"], 2, &["\n  maxmemory: it is 67108864 already"]),
        (&["maxmemory=72mb", "--from", "maxmemory=1gb"], 1, &["1073741824", "67108864"]),
    ];
    for (arguments, code, words) in wrong {
        let ran = flyball(server, &[&propose[..], arguments].concat()).await?;
        ensure!(ran.failed_with(code, words) && ran.out.is_empty(), "{arguments:?}: {ran:?}");
    }
    let none = flyball(server, &["propose", "redis:x:y", "maxmemory=72mb"]).await?;
    ensure!(none.failed_with(1, &["redis:x:y", "`flyball caches` lists"]), "{none:?}");

    let change = ["maxmemory=72mb", "--from", "maxmemory=64mb", "--note", "for the sale"];
    let made = flyball(server, &[&propose[..], &change].concat()).await?;
    let parts =
        ["maxmemory 64 MiB → 72 MiB (+12 %)", "by operator: for the sale", "flyball confirm s-"];
    ensure!(made.told(&parts) && made.err.contains("nothing has changed yet"), "{made:?}");
    ensure!(world.server.limit() == 64 * MIB);
    let list = stack.collector.api.json("/api/performance/suggestions").await?;
    let id = text(&list["suggestions"][0]["id"])?;
    keep(&stack, "suggestion-by-hand", &format!("suggestions/{id}")).await?;
    let again = flyball(server, &["propose", "sessions", "maxmemory=80mb"]).await?;
    ensure!(again.failed_with(1, &["flyball suggestions --status proposed"]), "{again:?}");

    let followed = flyball(server, &["confirm", id, "--watch"]).await?;
    ensure!(followed.told(&["promoted"]), "{followed:?}");
    ensure!(world.server.limit() == 72 * MIB);
    let body = ["-o", "json", "propose", "sessions", "maxmemory-policy=allkeys-lfu"];
    let second = flyball(server, &[&body[..], &["--expect", "70%..80%"]].concat()).await?;
    let second: Value = serde_json::from_str(&second.out).context("the suggestion as it is")?;
    ensure!(second["prediction"]["low"] == 0.7 && second["prediction"]["high"] == 0.8, "{second}");
    ensure!(second["kind"] == "cache.eviction_policy", "{second}");
    drop(world);
    stack.stop().await
}

#[tokio::test]
async fn like_caches_change_together_and_each_is_told() -> Result<()> {
    let stack = start(&[]).await?;
    let server = stack.collector.api.base();
    let mut worlds = Vec::new();
    for node in ["web-1", "web-2", "web-3"] {
        worlds.push(Steered::begin(stack.collector.grpc, node, "sessions").await?);
    }
    let look = |dry: bool| json!({"scope": "cache", "dry_run": dry});
    until("all three to be seen", SOON, || async {
        let tried = stack.collector.api.posted("/api/performance/optimize", &look(true)).await?;
        let members = tried["suggestions"][0]["members"].as_array().map_or(0, Vec::len);
        ensure!(members == 3, "{tried}");
        Ok(())
    })
    .await?;
    let found = stack.collector.api.posted("/api/performance/optimize", &look(false)).await?;
    let id = text(&found["suggestions"][0]["id"])?;
    keep(&stack, "suggestion-group", &format!("suggestions/{id}")).await?;
    let listed = flyball(server, &["suggestions", "--target", "redis:web-2:sessions"]).await?;
    ensure!(listed.told(&[id, "sessions on 3 nodes"]), "{listed:?}");
    let shown = flyball(server, &["show", id]).await?;
    let each = ["sessions on web-1  maxmemory", "sessions on web-2  maxmemory"];
    ensure!(shown.told(&each) && shown.told(&["NOW", "THEN"]), "{shown:?}");
    ensure!(flyball(server, &["reject", id]).await?.told(&["is rejected"]));

    let none = flyball(server, &["propose", "redis:*:carts", "maxmemory=72mb"]).await?;
    ensure!(none.failed_with(1, &["no cache is redis:*:carts", "`flyball caches`"]), "{none:?}");
    let several = flyball(server, &["propose", "sessions", "maxmemory=72mb"]).await?;
    ensure!(several.failed_with(2, &["redis:web-1:sessions, redis:web-2:"]), "{several:?}");
    let two = ["redis:web-1:sessions", "redis:web-3:sessions"];
    let far = flyball(server, &["propose", two[0], two[1], "maxmemory=1"]).await?;
    ensure!(far.failed_with(2, &["\n  maxmemory: redis:web-"]), "{far:?}");
    let made = flyball(server, &["propose", "redis:*:sessions", "maxmemory=72mb"]).await?;
    ensure!(made.told(&["sessions on 3 nodes", each[0], "64 MiB  72 MiB"]), "{made:?}");
    let list = stack.collector.api.json("/api/performance/suggestions?status=proposed").await?;
    let id = text(&list["suggestions"][0]["id"])?;
    let followed = flyball(server, &["--timeout", "20s", "confirm", id, "--watch"]).await?;
    let parts = ["1 of wave 1: offered to web-", "1 of wave 3: offered to web-", "promoted"];
    ensure!(followed.told(&parts), "{followed:?}");
    ensure!(worlds.iter().all(|world| world.server.limit() == 72 * MIB));
    let rollout = id.replace("s-", "r-");
    keep(&stack, "rollout-group", &format!("rollouts/{rollout}")).await?;
    let shown = flyball(server, &["show", &rollout]).await?;
    let parts = ["1, canary", "COMPARED WITH", "in force", each[1]];
    ensure!(shown.told(&parts), "{shown:?}");
    let all = flyball(server, &["rollouts"]).await?;
    ensure!(all.told(&[&rollout, "sessions on 3 nodes"]), "{all:?}");
    drop(worlds);
    stack.stop().await
}

#[tokio::test]
async fn what_cannot_be_is_told_with_what_can() -> Result<()> {
    let stack = start(&[]).await?;
    let server = stack.collector.api.base();
    let world = Steered::begin(stack.collector.grpc, "web-1", "sessions").await?;
    let suggestion = world.suggestion(&stack.collector.api).await?;
    let id = text(&suggestion["id"])?;
    let rollout = id.replace("s-", "r-");
    let wrong: [(&[&str], i32, &[&str]); 12] = [
        (&["show", "s-none"], 1, &["no suggestion or rollout is s-none", "`flyball suggestions`"]),
        (&["show", "redis:web-1:sessions"], 1, &["`flyball caches redis:web-1:sessions`"]),
        (&["show", id, "--watch"], 2, &["nobody has confirmed it"]),
        (
            &["confirm", "s-none"],
            1,
            &["no suggestion is s-none", "`flyball suggestions` lists all"],
        ),
        (&["confirm", &rollout], 2, &["is a rollout", id]),
        (&["rollback", "r-none"], 1, &["no rollout is r-none", "`flyball rollouts` lists all"]),
        (&["unlock", "redis:x:y"], 1, &["nothing was ever changed at a target redis:x:y"]),
        (&["optimize", "--target", "redis:x:y"], 1, &["target", "redis:x:y"]),
        (&["suggestions", "--status", "x"], 2, &["status: must be proposed"]),
        (&["suggestions", "--limit", "0"], 2, &["limit: "]),
        (&["audit", "--inputs"], 2, &["--output json"]),
        (&["policies", "--node", "nobody"], 1, &["no agent of \"nobody\" watches here"]),
    ];
    for (arguments, code, words) in wrong {
        let ran = flyball(server, arguments).await?;
        ensure!(ran.failed_with(code, words) && ran.out.is_empty(), "{arguments:?}: {ran:?}");
    }
    let note = flyball(server, &["reject", id, "--note", "not\u{1b}[2J here"]).await?;
    ensure!(note.told(&["is rejected"]), "{note:?}");
    let shown = flyball(server, &["show", id]).await?;
    ensure!(!shown.out.contains('\u{1b}'), "no text moves the cursor: {shown:?}");
    ensure!(shown.told(&["rejected", "by operator"]), "{shown:?}");
    let empty = flyball(server, &["rollouts"]).await?;
    ensure!(empty.code == Some(0) && empty.err.contains("flyball confirm ID"), "{empty:?}");
    let quick = flyball(server, &["--timeout", "20s", "optimize", "--scope", "host"]).await?;
    ensure!(quick.told(&["there is no advisor for host yet"]), "{quick:?}");
    drop(world);
    tokio::time::timeout(Duration::from_mins(1), stack.stop()).await?
}
