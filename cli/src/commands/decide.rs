//! A person's word: `flyball confirm`, `reject` and `unlock`.

use serde_json::json;

use super::group::where_it_is;
use super::suggestions::PATH;
use super::{Context, caches, print, watch};
use crate::api::segment;
use crate::api::steering::{Rollout, Suggestion, TargetAnswer};
use crate::args::{DecideArgs, UnlockArgs, WatchedArgs};
use crate::config::Output;
use crate::error::Error;
use crate::text::clean;

/// Has a suggestion carried out, and follows that if it is wanted.
///
/// # Errors
/// When the collector cannot be reached or refuses, or with `--watch` when the change was taken back.
pub(crate) async fn confirm(context: &Context, args: &WatchedArgs) -> Result<(), Error> {
    let body = decide(context, &args.id, "confirm", &args.note).await?;
    if args.watch {
        return watch::follow(context, context.client.parse(&body)?, watch::Wish::Stays).await;
    }
    if context.output == Output::Json {
        return print(&body);
    }
    let rollout: Rollout = context.client.parse(&body)?;
    let at = rollout.place().unwrap_or_default();
    let (id, at, what) = (clean(&rollout.id), clean(&at), clean(&rollout.change_words()));
    print(&format!(
        "rollout {id} begins: {what}, at {at}\n\
         flyball show {id} --watch   follows it\n\
         flyball rollback {id}       takes it back\n"
    ))
}

/// Says that a suggestion is not wanted.
///
/// # Errors
/// When the collector cannot be reached or refuses.
pub(crate) async fn reject(context: &Context, args: &DecideArgs) -> Result<(), Error> {
    let body = decide(context, &args.id, "reject", &args.note).await?;
    if context.output == Output::Json {
        return print(&body);
    }
    let suggestion: Suggestion = context.client.parse(&body)?;
    print(&format!("suggestion {} is rejected", clean(&suggestion.id)))
}

async fn decide(context: &Context, id: &str, word: &str, note: &str) -> Result<String, Error> {
    if let Some(rest) = id.strip_prefix("r-") {
        return Err(Error::Usage(format!(
            "{} is a rollout; {word} takes a suggestion: s-{}",
            clean(id),
            clean(rest)
        )));
    }
    let path = format!("{PATH}/{}/{word}", segment(id));
    context.client.post(&path, &json!({ "note": note })).await.map_err(|error| match error {
        Error::Api(problem) if problem.status == 404 => Error::NotFound(format!(
            "no suggestion is {}; `flyball suggestions` lists all",
            clean(id)
        )),
        other => other,
    })
}

/// Allows new attempts at a target.
///
/// # Errors
/// When the collector cannot be reached or refuses.
pub(crate) async fn unlock(context: &Context, args: &UnlockArgs) -> Result<(), Error> {
    let id = caches::target_id(context, &args.target).await?;
    let path = format!("/api/performance/targets/{}/unlock", segment(&id));
    let body = context.client.post(&path, &json!({ "note": args.note })).await;
    let body = body.map_err(|error| match error {
        Error::Api(problem) if problem.status == 404 => Error::NotFound(format!(
            "nothing was ever changed at a target {}; `flyball rollouts` tells the targets",
            clean(&id)
        )),
        other => other,
    })?;
    if context.output == Output::Json {
        return print(&body);
    }
    let TargetAnswer { target, status } = context.client.parse(&body)?;
    print(&format!("{} is {}", clean(&where_it_is(&target)), clean(&status)))
}
