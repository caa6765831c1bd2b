//! Last values of nodes across collectors: each tells the others through Redis how the nodes are that are connected to it, so that any of them answers for all.
//!
//! Once a second what has changed goes out as one message; a message that is lost is made good by the next one of each node, which comes with its next frame. Without Redis the store
//! is asked now and then instead ([`crate::recall`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flyball_proto::v1;
use prost::Message as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::live::{Live, NodeStatus};
use crate::query::Querier;

/// Time between two messages.
const PERIOD: Duration = Duration::from_secs(1);
/// A node of which nothing was heard for so long is not up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells and hears until `shutdown`.
pub(crate) async fn run(querier: Querier, live: Live, shutdown: CancellationToken) {
    let hear = |message: &[u8]| match v1::StatusResponse::decode(message) {
        Ok(fleet) => fleet.nodes.into_iter().for_each(|node| live.told(node.into(), PATIENCE)),
        Err(error) => tracing::warn!(%error, "the status of nodes elsewhere cannot be read"),
    };
    tokio::select! {
        () = querier.run(hear, shutdown.clone()) => {}
        () = tell(&querier, &live) => {}
    }
}

async fn tell(querier: &Querier, live: &Live) {
    if !querier.is_shared() {
        return std::future::pending().await;
    }
    let mut told: HashMap<String, i64> = HashMap::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let news = news(&mut told, &live.connected());
        if !news.is_empty() {
            let fleet = v1::StatusResponse { nodes: news, ..v1::StatusResponse::default() };
            querier.publish(fleet.encode_to_vec());
        }
    }
}

/// The nodes that were heard of since they were told last.
fn news(told: &mut HashMap<String, i64>, nodes: &[Arc<NodeStatus>]) -> Vec<v1::NodeStatus> {
    let mut last = HashMap::with_capacity(nodes.len());
    let mut news = Vec::new();
    for node in nodes {
        let Some(seen_ms) = node.last_seen_ms else { continue };
        if told.get(&node.node) != Some(&seen_ms) {
            news.push(v1::NodeStatus { accounting: None, ..node.as_ref().into() });
        }
        last.insert(node.node.clone(), seen_ms);
    }
    *told = last;
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let node = |name: &str, seen_ms| {
            let node = name.to_owned();
            Arc::new(NodeStatus { node, last_seen_ms: seen_ms, ..NodeStatus::default() })
        };
        let mut told = HashMap::new();
        let names =
            |news: Vec<v1::NodeStatus>| news.into_iter().map(|n| n.node).collect::<Vec<_>>();
        let first = [node("a", Some(1)), node("b", Some(1)), node("c", None)];
        assert_eq!(names(news(&mut told, &first)), ["a", "b"]);
        let second = [node("a", Some(1)), node("b", Some(2))];
        assert_eq!(names(news(&mut told, &second)), ["b"]);
        assert_eq!(names(news(&mut told, &second)), [""; 0]);
        assert_eq!(names(news(&mut told, &[])), [""; 0]);
        assert_eq!(names(news(&mut told, &second)), ["a", "b"], "it came back");
    }
}
