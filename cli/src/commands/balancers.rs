//! `flyball balancers`: the load balancers of the fleet and their pools, or one pool in full.

use std::cmp::Reverse;

use comfy_table::Cell;

use super::caches::per_second;
use super::{Context, control, hint, print};
use crate::api::balancers::{
    Balancer, BalancersAnswer, Group, Member, Placement, Pool, PoolAnswer, PoolBackend,
};
use crate::api::segment;
use crate::args::BalancersArgs;
use crate::config::Output;
use crate::error::Error;
use crate::text::UNKNOWN;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::units::{self, Quantity};

const PATH: &str = "/api/performance/balancers";
const GROUPS: [Column<'_>; 9] = [
    Column::Text("BALANCER"),
    Column::Text("NODE"),
    Column::Text("STATE"),
    Column::Text("GROUP"),
    Column::Text("ALGORITHM"),
    Column::Text("WEIGHTS"),
    Column::Text("READY"),
    Column::Number("REQUESTS"),
    Column::Number("ERRORS"),
];
const POOLS: [Column<'_>; 6] = [
    Column::Text("POOL"),
    Column::Text("BALANCERS"),
    Column::Text("BACKENDS"),
    Column::Number("REQUESTS"),
    Column::Number("ERRORS"),
    Column::Text("MOST IN USE"),
];
const BACKENDS: [Column<'_>; 10] = [
    Column::Text("BACKEND"),
    Column::Text("STATE"),
    Column::Text("WEIGHT"),
    Column::Number("REQUESTS"),
    Column::Number("SHARE"),
    Column::Number("ASKED"),
    Column::Number("CAPACITY"),
    Column::Number("LATENCY"),
    Column::Number("ERRORS"),
    Column::Text("IN USE"),
];
const MEMBERS: [Column<'_>; 4] = [
    Column::Text("BALANCER"),
    Column::Text("ALGORITHM"),
    Column::Text("WEIGHTS"),
    Column::Text("COUNTS"),
];

/// Prints the balancers, or a pool.
///
/// # Errors
/// When the collector cannot be reached, or knows no such node or pool.
pub(crate) async fn run(context: &Context, args: &BalancersArgs) -> Result<(), Error> {
    if let Some(command) = &args.control {
        return control::run(context, command).await;
    }
    let client = &context.client;
    if let Some(name) = &args.pool {
        let body = client.get(&format!("{PATH}/pools/{}", segment(name)), &[]).await?;
        if context.output == Output::Json {
            return print(&body);
        }
        let PoolAnswer { pool } = client.parse(&body)?;
        return print(&detail(context.screen, &pool));
    }
    let query: Vec<_> = args.node.iter().map(|node| ("node", node.clone())).collect();
    let body = client.get(PATH, &query).await?;
    if context.output == Output::Json {
        return print(&body);
    }
    let BalancersAnswer { balancers, pools } = client.parse(&body)?;
    if balancers.is_empty() {
        hint(
            "no load balancer is watched yet; add [[haproxy]] or [[envoy]] to an agent's file and start it again",
        );
        return Ok(());
    }
    print(&list(context.screen, &balancers, &pools))
}

fn list(screen: Screen, balancers: &[Balancer], pools: &[Pool]) -> String {
    let mut rows: Vec<_> = balancers.iter().flat_map(groups).collect();
    // Trouble first; the rest stays by node and name.
    rows.sort_by_key(|(is_trouble, _)| Reverse(*is_trouble));
    let mut text = render(screen, &GROUPS, rows.into_iter().map(|(_, row)| row).collect());
    if !pools.is_empty() {
        text.push('\n');
        text.push_str(&render(screen, &POOLS, pools.iter().map(pool_row).collect()));
    }
    text
}

/// A row for each group of a balancer; one without a group when it has none.
fn groups(of: &Balancer) -> Vec<(bool, Vec<Cell>)> {
    let head = || vec![plain(&of.name), plain(&of.node), balancer_state(of)];
    if of.groups.is_empty() {
        let mut row = head();
        row.push(plain(of.reason.as_deref().unwrap_or(UNKNOWN)));
        row.extend((0..5).map(|_| plain(UNKNOWN)));
        return vec![(of.state != "up", row)];
    }
    let row = |group: &Group| {
        let ready = group.backends.iter().filter(|backend| backend.state == "ready").count();
        let all = group.backends.len();
        let text = format!("{ready} of {all}");
        let ready_cell = if ready == all { plain(text) } else { toned(&text, Tone::Warning) };
        let requests: f64 = group.backends.iter().map(|backend| backend.requests_per_second).sum();
        let failed = |backend: &crate::api::balancers::Backend| {
            backend.error_ratio.unwrap_or(0.0) * backend.requests_per_second
        };
        let errors = group.backends.iter().map(failed).sum::<f64>() / requests;
        let mut row = head();
        row.extend([
            plain(&group.name),
            plain(&group.algorithm),
            plain(meaning(&group.weights)),
            ready_cell,
            plain(per_second(Some(requests))),
            errors_cell(Some(errors).filter(|errors| errors.is_finite())),
        ]);
        (of.state != "up" || ready < all, row)
    };
    of.groups.iter().map(row).collect()
}

fn balancer_state(of: &Balancer) -> Cell {
    let tone = match of.state.as_str() {
        "up" => Tone::Good,
        "slow" => Tone::Warning,
        _ => Tone::Bad,
    };
    toned(&of.state, tone)
}

fn pool_row(pool: &Pool) -> Vec<Cell> {
    let most = pool.backends.iter().filter(|backend| backend.utilization.is_some());
    let most =
        most.max_by(|a, b| a.utilization.unwrap_or(0.0).total_cmp(&b.utilization.unwrap_or(0.0)));
    let most = most.map_or_else(
        || UNKNOWN.to_owned(),
        |backend| format!("{} {}", units::percent(backend.utilization), backend.id),
    );
    vec![
        plain(&pool.name),
        balancers_cell(pool),
        plain(pool.backends.len().to_string()),
        plain(per_second(Some(pool.requests_per_second))),
        errors_cell(pool.error_ratio),
        plain(most),
    ]
}

fn balancers_cell(pool: &Pool) -> Cell {
    let missing = pool.members.iter().filter(|member| member.missing.is_some()).count();
    let all = pool.members.len();
    if missing == 0 {
        return plain(all.to_string());
    }
    toned(&format!("{} of {all}", all - missing), Tone::Bad)
}

/// One pool in full.
fn detail(screen: Screen, pool: &Pool) -> String {
    let window = format!("{:.0} s", pool.window_ms / 1_000.0);
    let mut text = format!(
        "pool {}: {} of {} balancers, {} over the last {window}\n\n",
        pool.name,
        pool.members.iter().filter(|member| member.missing.is_none()).count(),
        pool.members.len(),
        per_second(Some(pool.requests_per_second)),
    );
    text.push_str(&render(screen, &BACKENDS, pool.backends.iter().map(backend_row).collect()));
    text.push('\n');
    text.push_str(&render(screen, &MEMBERS, pool.members.iter().map(member_row).collect()));
    let mut notes: Vec<&str> =
        pool.members.iter().map(|member| member.weights_note.as_str()).collect();
    notes.retain(|note| !note.is_empty());
    notes.sort_unstable();
    notes.dedup();
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes.join("\n"));
    }
    text
}

fn backend_row(backend: &PoolBackend) -> Vec<Cell> {
    let used = match (&backend.utilization, &backend.utilization_source) {
        (Some(_), Some(source)) => format!("{} {source}", units::percent(backend.utilization)),
        _ => UNKNOWN.to_owned(),
    };
    vec![
        plain(&backend.id),
        backend_state(backend),
        plain(weight(&backend.placements)),
        plain(per_second(Some(backend.requests_per_second))),
        plain(units::percent(backend.share)),
        plain(units::percent(backend.weight_share)),
        plain(units::percent(backend.capacity_share)),
        plain(Quantity::Seconds.format(backend.latency_ms.map(|latency_ms| latency_ms / 1_000.0))),
        errors_cell(backend.error_ratio),
        match backend.utilization {
            Some(share) if share >= 0.95 => toned(&used, Tone::Bad),
            Some(share) if share >= 0.85 => toned(&used, Tone::Warning),
            _ => plain(used),
        },
    ]
}

/// State, with the number of balancers where it is another one.
fn backend_state(backend: &PoolBackend) -> Cell {
    let other = backend.placements.iter().filter(|place| place.state != backend.state).count();
    let text = if other == 0 {
        backend.state.clone()
    } else {
        format!("{}, not on {other} of {}", backend.state, backend.placements.len())
    };
    let tone = match backend.state.as_str() {
        "ready" if other == 0 => Tone::Good,
        "ready" | "drain" | "maint" => Tone::Warning,
        _ => Tone::Bad,
    };
    toned(&text, tone)
}

/// `100 → 40, 60 is wanted`; a range where balancers differ.
fn weight(placements: &[Placement]) -> String {
    let configured = range(placements.iter().map(|place| place.weight_configured));
    let in_force = range(placements.iter().map(|place| place.weight));
    let differs =
        |place: &&Placement| place.weight_wanted.is_some_and(|w| (w - place.weight).abs() >= 0.5);
    let wanted: Vec<f64> =
        placements.iter().filter(differs).filter_map(|place| place.weight_wanted).collect();
    let mut text =
        if configured == in_force { in_force } else { format!("{configured} → {in_force}") };
    if !wanted.is_empty() {
        text = format!("{text}, {} is wanted", range(wanted.into_iter()));
    }
    text
}

fn range(numbers: impl Iterator<Item = f64> + Clone) -> String {
    let least = numbers.clone().reduce(f64::min);
    let most = numbers.reduce(f64::max);
    match (least, most) {
        (Some(least), Some(most)) if least < most => format!("{least}–{most}"),
        (Some(one), _) => format!("{one}"),
        _ => UNKNOWN.to_owned(),
    }
}

fn member_row(member: &Member) -> Vec<Cell> {
    vec![
        plain(format!("{} on {}", member.name, member.node)),
        plain(&member.algorithm),
        plain(meaning(&member.weights)),
        match &member.missing {
            None => toned("yes", Tone::Good),
            Some(reason) => toned(&format!("no: {reason}"), Tone::Bad),
        },
    ]
}

fn errors_cell(ratio: Option<f64>) -> Cell {
    let text = units::percent(ratio);
    if ratio.is_some_and(|ratio| ratio >= 0.01) { toned(&text, Tone::Bad) } else { plain(text) }
}

/// As people read it.
fn meaning(weights: &str) -> String {
    weights.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    const SCREEN: Screen = Screen { terminal: false, color: false };

    #[test]
    fn each_group_and_each_pool_is_a_row() {
        let body = include_str!("../../answers/balancers.json");
        let BalancersAnswer { mut balancers, pools } = serde_json::from_str(body).unwrap();
        balancers.push(Balancer {
            name: "far".into(),
            node: "lb-9".into(),
            kind: "envoy".into(),
            state: "unreachable".into(),
            reason: Some("connection refused".into()),
            ..Balancer::default()
        });
        snapshot::check("balancers", &list(SCREEN, &balancers, &pools));
    }

    #[test]
    fn a_pool_shows_its_backends_and_what_weights_mean() {
        let body = include_str!("../../answers/pool.json");
        let PoolAnswer { pool } = serde_json::from_str(body).unwrap();
        snapshot::check("pool", &detail(SCREEN, &pool));
    }

    #[test]
    fn weights_that_differ_are_a_range_and_what_is_wanted_is_told() {
        let place = |weight_configured, weight, weight_wanted| Placement {
            weight_configured,
            weight,
            weight_wanted,
            ..Placement::default()
        };
        assert_eq!(weight(&[place(100.0, 100.0, None)]), "100");
        assert_eq!(weight(&[place(100.0, 40.0, Some(40.0))]), "100 → 40");
        let two = [place(100.0, 40.0, Some(60.0)), place(100.0, 50.0, None)];
        assert_eq!(weight(&two), "100 → 40–50, 60 is wanted");
    }

    #[test]
    fn a_backend_that_is_drained_somewhere_says_where() {
        let place = |state: &str| Placement { state: state.into(), ..Placement::default() };
        let backend = PoolBackend {
            state: "ready".into(),
            placements: vec![place("ready"), place("drain")],
            ..PoolBackend::default()
        };
        assert_eq!(backend_state(&backend).content(), "ready, not on 1 of 2");
    }
}
