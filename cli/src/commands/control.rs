//! Standing control of pools: `flyball balancers control`, `freeze`, `unfreeze` and `kill`.

use comfy_table::Cell;
use serde::Deserialize;
use serde_json::json;

use super::{Context, hint, print};
use crate::api::segment;
use crate::args::{ControlCommand, PoolArgs};
use crate::config::Output;
use crate::error::Error;
use crate::text::clean;
use crate::text::table::{Column, Screen, plain, render};

const COLUMNS: [Column<'_>; 6] = [
    Column::Text("POOL"),
    Column::Text("STATE"),
    Column::Number("PUSHES"),
    Column::Text("BALANCERS"),
    Column::Text("LAST PUSH"),
    Column::Text("WHY"),
];

/// `/api/performance/control`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ControlAnswer {
    control: Vec<PoolControl>,
}

/// Control of one pool.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolControl {
    pool: String,
    state: String,
    frozen: Option<Frozen>,
    waits: Option<String>,
    balancers: Vec<Balancer>,
    pushes: u64,
    last_pushes: Vec<Push>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Frozen {
    by: String,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Balancer {
    state: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Push {
    balancers: Vec<Confirmation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Confirmation {
    confirmed_at_ms: Option<i64>,
}

/// Shows what is under control, or has a person's word on it happen.
///
/// # Errors
/// When the collector cannot be reached or refuses.
pub(crate) async fn run(context: &Context, command: &ControlCommand) -> Result<(), Error> {
    let body = match command {
        ControlCommand::Control => context.client.get("/api/performance/control", &[]).await?,
        ControlCommand::Freeze(args) => order(context, args, "freeze").await?,
        ControlCommand::Unfreeze(args) => order(context, args, "unfreeze").await?,
        ControlCommand::Kill(args) => order(context, args, "kill").await?,
    };
    if context.output == Output::Json {
        return print(&body);
    }
    let ControlAnswer { control } = context.client.parse(&body)?;
    if control.is_empty() {
        hint("no pool is under control; it begins with a promotion of `balancer.weights`");
        return Ok(());
    }
    print(&table(context.screen, &control))
}

async fn order(context: &Context, args: &PoolArgs, order: &str) -> Result<String, Error> {
    let path = format!("/api/performance/balancers/pools/{}/{order}", segment(&args.pool));
    context.client.post(&path, &json!({ "note": args.note })).await.map_err(|error| match error {
        Error::Api(problem) if problem.status == 404 => Error::NotFound(format!(
            "no pool {} is under control; `flyball balancers control` lists all",
            clean(&args.pool)
        )),
        other => other,
    })
}

fn table(screen: Screen, control: &[PoolControl]) -> String {
    let row = |of: &PoolControl| -> Vec<Cell> {
        let standing = of.balancers.iter().filter(|one| one.state == "standing").count();
        let why = match (&of.frozen, &of.waits) {
            (Some(frozen), _) => format!("{}: {}", clean(&frozen.by), clean(&frozen.reason)),
            (None, Some(waits)) => clean(waits),
            (None, None) => String::new(),
        };
        let last = of.last_pushes.first().map(|push| {
            let done = push.balancers.iter().filter(|one| one.confirmed_at_ms.is_some()).count();
            format!("in force at {done} of {}", push.balancers.len())
        });
        vec![
            plain(clean(&of.pool)),
            plain(clean(&of.state)),
            plain(of.pushes.to_string()),
            plain(format!("{standing} of {}", of.balancers.len())),
            plain(last.unwrap_or_default()),
            plain(why),
        ]
    };
    render(screen, &COLUMNS, control.iter().map(row).collect())
}
