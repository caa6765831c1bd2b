//! `flyball audit`: who decided what, when, from where and why; and whether the chain of hashes is whole.

use comfy_table::Cell;

use super::{Context, hint, print};
use crate::api::steering::{AuditAnswer, AuditEntry, Verified};
use crate::args::AuditArgs;
use crate::config::Output;
use crate::error::Error;
use crate::text::table::{Column, Screen, Tone, plain, render, toned};
use crate::text::{clean, units};

const COLUMNS: [Column<'_>; 6] = [
    Column::Number("NUMBER"),
    Column::Text("WHEN"),
    Column::Text("WHO"),
    Column::Text("ABOUT"),
    Column::Text("STATE"),
    Column::Text("WHY"),
];

/// Prints the newest decisions, and with `--verify` what a check of all of them found.
///
/// # Errors
/// When the collector cannot be reached, or the chain is not whole.
pub(crate) async fn run(context: &Context, args: &AuditArgs) -> Result<(), Error> {
    let client = &context.client;
    if args.inputs && context.output == Output::Table {
        return Err(Error::Usage("--inputs: only with --output json".to_owned()));
    }
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.subject.iter().map(|subject| ("subject", subject.clone())));
    query.extend(args.verify.then(|| ("verify", "true".to_owned())));
    query.extend(args.inputs.then(|| ("inputs", "true".to_owned())));
    let body = client.get("/api/performance/audit", &query).await?;
    let answer: AuditAnswer = client.parse(&body)?;
    match context.output {
        Output::Json => print(&body)?,
        Output::Table => tell(context.screen, &answer)?,
    }
    match answer.verified.as_ref().filter(|verified| !verified.intact) {
        Some(verified) => Err(Error::Broken(broken(verified))),
        None => Ok(()),
    }
}

fn tell(screen: Screen, answer: &AuditAnswer) -> Result<(), Error> {
    if answer.entries.is_empty() {
        hint("nothing was decided yet, or nothing about that");
    } else {
        print(&table(screen, &answer.entries))?;
    }
    if let Some(verified) = answer.verified.as_ref().filter(|verified| verified.intact) {
        print(&format!("\n{}", whole(verified)))?;
    }
    if let Some(reason) = &answer.journal.reason {
        hint(&format!("nothing can be decided at present: the journal {}", clean(reason)));
    }
    if answer.next_cursor.is_some() {
        let shown = answer.entries.len();
        hint(&format!("these are the newest {shown}; older ones with --limit or --subject"));
    }
    Ok(())
}

fn whole(of: &Verified) -> String {
    let Verified { rows, first, last, hash, .. } = of;
    match rows {
        0 => "the log is empty".to_owned(),
        _ => format!("whole: {rows} rows, {first} to {last}, hash {}", clean(hash)),
    }
}

fn broken(of: &Verified) -> String {
    let Verified { last, broken_at, problem, .. } = of;
    let problem = problem.as_deref().unwrap_or("it does not follow from the one before");
    format!("row {broken_at}: {}; up to row {last} it is whole", clean(problem))
}

fn table(screen: Screen, entries: &[AuditEntry]) -> String {
    render(screen, &COLUMNS, entries.iter().map(row).collect())
}

fn row(of: &AuditEntry) -> Vec<Cell> {
    let who = match of.actor_address.as_str() {
        "" => of.actor.clone(),
        address => format!("{} at {address}", of.actor),
    };
    let tone = match of.to_state.as_str() {
        "promoted" | "free" => Tone::Good,
        "failed" | "locked" => Tone::Bad,
        "rolled_back" | "cooling" => Tone::Warning,
        _ => Tone::Plain,
    };
    let state = match of.from_state.as_str() {
        "" => of.to_state.clone(),
        from if from == of.to_state => from.to_owned(),
        from => format!("{from} → {}", of.to_state),
    };
    vec![
        plain(of.sequence.to_string()),
        plain(units::utc(of.at_ms)),
        plain(who),
        plain(&of.subject_id),
        toned(&state, tone),
        plain(&of.reason),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    fn recorded() -> AuditAnswer {
        serde_json::from_str(include_str!("../../answers/audit.json")).unwrap()
    }

    #[test]
    fn each_decision_is_a_row() {
        let screen = Screen { terminal: false, color: false };
        snapshot::check("audit", &table(screen, &recorded().entries));
    }

    #[test]
    fn a_chain_is_whole_or_it_is_told_where_it_breaks() {
        let verified = recorded().verified.unwrap();
        assert!(verified.intact);
        assert!(whole(&verified).contains(&verified.hash));
        assert_eq!(whole(&Verified::default()), "the log is empty");
        let torn = Verified {
            last: 4,
            broken_at: 5,
            problem: Some("its hash is another one".into()),
            ..Verified::default()
        };
        assert_eq!(broken(&torn), "row 5: its hash is another one; up to row 4 it is whole");
    }
}
