//! Load balancers from the report of an agent to the API, gRPC, the store, events and the command line, at a real collector.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use flyball_proto::steering::BalancerState;
use flyball_proto::v1;
use flyball_proto::v1::performance_client::PerformanceClient;
use flyball_tests::balanced::{Balanced, REQUESTS, World};
use flyball_tests::command::flyball;
use flyball_tests::engine;
use flyball_tests::shape;
use flyball_tests::stack::Stack;
use flyball_tests::wait::{SOON, until};
use serde_json::Value;
use tonic::transport::Endpoint;

const PATH: &str = "/api/performance/balancers";

/// The pool once `is_so`.
async fn pool(stack: &Stack, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    until("a pool", SOON, || async {
        let answer = stack.collector.api.json(&format!("{PATH}/pools/web")).await?;
        ensure!(is_so(&answer), "{answer}");
        Ok(answer)
    })
    .await
}

fn members_that_count(answer: &Value) -> usize {
    let members = answer["pool"]["members"].as_array();
    members.map_or(0, |all| all.iter().filter(|member| member["missing"].is_null()).count())
}

fn close(value: &Value, wanted: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - wanted).abs() < 0.01)
}

#[tokio::test]
async fn reports_of_balancers_are_a_pool_for_the_api_grpc_the_store_and_the_command_line()
-> Result<()> {
    let stack = Stack::start().await?;
    let server = stack.collector.api.base();
    let none = flyball(server, &["balancers"]).await?;
    ensure!(none.code == Some(0) && none.err.contains("add [[haproxy]]"), "{none:?}");
    let worlds = vec![World::exact("lb-1"), World::when_busy("lb-2")];
    let mut balanced = Balanced::begin(stack.collector.grpc, worlds);
    balanced.worlds[1].weights.lock().insert("web3".into(), 40);

    // Both count, and three windows of both are in the store.
    let answer = pool(&stack, |answer| {
        let times = answer["history"]["times_ms"].as_array().map_or(0, Vec::len);
        members_that_count(answer) == 2 && times >= 2
    })
    .await?;
    let now = &answer["pool"];
    let third = &now["backends"][2];
    ensure!(third["id"] == "10.0.1.3:8080" && third["placements"][1]["weight"] == 40, "{third}");
    // 200 of 600 at the first, 100 of 600 at the second balancer.
    ensure!(close(&third["share"], 0.25) && close(&third["weight_share"], 0.25), "{third}");
    ensure!(close(&third["error_ratio"], 0.02), "{third}");
    ensure!(third["utilization_source"] == "limit", "{third}");
    ensure!(close(&third["utilization"], (36.0 + 18.0) / 80.0), "{third}");
    let shares: f64 = (0..3).filter_map(|i| now["backends"][i]["capacity_share"].as_f64()).sum();
    ensure!((shares - 1.0).abs() < 1e-9, "{now}");
    let history = &answer["history"]["backends"][2];
    ensure!(
        history["id"] == "10.0.1.3:8080" && close(&history["latency_ms"][0], 64.0),
        "{history}"
    );
    // No balancer says it: it is what is under way over the limit.
    ensure!(
        history["utilization"][0].is_number() && history["utilization_source"][0] == "limit",
        "{history}"
    );
    shape::check("cli/answers/pool.json", &answer)?;

    let all = stack.collector.api.json(PATH).await?;
    shape::check("cli/answers/balancers.json", &all)?;
    let group = &all["balancers"][1]["groups"][0];
    ensure!(group["weights"] == "when_busy" && group["algorithm"] == "leastconn", "{group}");
    let one = stack.collector.api.json(&format!("{PATH}?node=lb-1&pool=web")).await?;
    ensure!(one["balancers"].as_array().map_or(0, Vec::len) == 1, "{one}");
    let unknown = flyball(server, &["balancers", "--node", "lb-9"]).await?;
    ensure!(unknown.failed_with(1, &["lb-9"]), "{unknown:?}");
    let unknown = flyball(server, &["balancers", "--pool", "mail"]).await?;
    ensure!(unknown.failed_with(1, &["mail"]), "{unknown:?}");
    let listed = flyball(server, &["balancers"]).await?;
    ensure!(
        listed.told(&["edge", "lb-1", "roundrobin", "when busy", "3 of 3", "POOL"]),
        "{listed:?}"
    );
    let shown = flyball(server, &["balancers", "--pool", "web"]).await?;
    ensure!(shown.told(&["10.0.1.3:8080", "100 → 40–100", "limit", "idle ones"]), "{shown:?}");

    let channel = Endpoint::from_shared(format!("http://{}", stack.collector.grpc))?;
    let mut client = PerformanceClient::new(channel.connect().await?);
    let pools = client.pools(v1::PoolsRequest { name: "web".into() }).await?.into_inner().pools;
    ensure!(pools.len() == 1 && pools[0].id == "pool:web" && pools[0].backends.len() == 3);
    let request = v1::BalancersRequest { nodes: vec!["lb-2".into()], pool: String::new() };
    let found = client.balancers(request).await?.into_inner().balancers;
    ensure!(found.len() == 1 && found[0].id == "haproxy:lb-2:edge", "{found:?}");
    let missing = client.pools(v1::PoolsRequest { name: "mail".into() }).await.unwrap_err();
    ensure!(missing.code() == tonic::Code::NotFound, "{missing}");

    // One falls silent, the other is not reached: the pool says which, and knows of nothing.
    balanced.silence(0);
    *balanced.worlds[1].state.lock() = BalancerState::Unreachable;
    let gone = pool(&stack, |answer| members_that_count(answer) == 0).await?;
    let reasons: BTreeSet<&str> = ["silent for", "unreachable: connection refused"].into();
    let members = gone["pool"]["members"].as_array().context("members")?;
    for (member, reason) in members.iter().zip(reasons) {
        let told = member["missing"].as_str().unwrap_or_default();
        ensure!(told.starts_with(reason), "{member}");
    }
    ensure!(gone["pool"]["backends"][0]["share"].is_null(), "{gone}");
    let listed = flyball(server, &["balancers"]).await?;
    ensure!(listed.told(&["unreachable", "connection refused", "0 of 2"]), "{listed:?}");

    let (data, _dir) = stack.shut_down().await?;
    let rows = "SELECT node, uniqExact(ts) * 3 = count(), sum(requests) / uniqExact(ts) \
        FROM flyball.balancer_stats FINAL GROUP BY node ORDER BY node";
    let rows = engine::query(&data, rows).await?;
    ensure!(rows.trim() == format!("lb-1\t1\t{REQUESTS}\nlb-2\t1\t{REQUESTS}"), "{rows}");
    Ok(())
}
