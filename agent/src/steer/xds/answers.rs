//! What clients answer to what they were pushed: who is behind, who refuses the change that is under way, and who refuses something older. Pure.
//!
//! A client's refusal (NACK) stands until that type of resources changes again, so it may be much older than the change, and is not the fault of that: a listener whose port is
//! taken stays refused whatever weights are set. Versions tell: each push has a higher number, and a type's version is that of the push which changed it last. Policies change
//! clusters and endpoints only, so a refusal of anything else is never theirs, also when a client that connects anew refuses everything at once.

use flyball_proto::steering::clip;
use flyball_xds::{ClientStatus, Kind, KindStatus};

/// How much of a client's refusal is told, in bytes: Envoy repeats the whole resource.
const MAX_WORDS: usize = 300;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// Clients that have neither acknowledged nor refused all of it.
    pub(super) behind: usize,
    /// The words of one that refuses the change that is under way.
    pub(super) refused: Option<String>,
    /// The words of one that refuses something older.
    pub(super) standing: Option<String>,
}

impl Answers {
    /// What clients say of this version. `before`: the number of the newest push before the change that is under way.
    pub(super) fn of(clients: &[ClientStatus], version: &str, before: u64) -> Self {
        let is_current = |client: &&ClientStatus| client.snapshot.as_deref() == Some(version);
        let has_answered = |client: &&ClientStatus| is_current(client) && has_answered(client);
        let behind = clients.iter().filter(|client| !has_answered(client)).count();
        let mut answers = Self { behind, ..Self::default() };
        for client in clients.iter().filter(is_current) {
            for kind in client.kinds.iter().filter(|kind| kind.refuses) {
                let place = if is_newer(kind, before) {
                    &mut answers.refused
                } else {
                    &mut answers.standing
                };
                place.get_or_insert_with(|| words(client, kind));
            }
        }
        answers
    }
}

/// Names a push: versions of one process are `EPOCH-NUMBER`, with more behind it where it is a part of one.
pub(super) fn version(epoch: u64, number: u64) -> String {
    format!("{epoch:x}-{number}")
}

fn number(version: &str) -> Option<u64> {
    let number = version.split_once('-')?.1;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

/// It has acknowledged or refused each type. While it refuses clusters, listeners and routes are held back.
fn has_answered(client: &ClientStatus) -> bool {
    let refuses_clusters =
        client.kinds.iter().any(|kind| kind.kind == Kind::Cluster && kind.refuses);
    let is_held_back =
        |kind: &KindStatus| refuses_clusters && matches!(kind.kind, Kind::Listener | Kind::Route);
    let is_done = |kind: &KindStatus| kind.in_sync || kind.refuses || is_held_back(kind);
    !client.kinds.is_empty() && client.kinds.iter().all(is_done)
}

fn is_newer(kind: &KindStatus, before: u64) -> bool {
    let of = kind.nack.as_ref().and_then(|nack| number(&nack.version));
    matches!(kind.kind, Kind::Cluster | Kind::Endpoint) && of.is_none_or(|of| of > before)
}

fn words(client: &ClientStatus, kind: &KindStatus) -> String {
    let words = kind.nack.as_ref().map_or("", |nack| nack.message.as_str());
    let words = clip(words, MAX_WORDS);
    format!("client {:?} has refused {:?}: {words}", client.node_id, kind.kind)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use flyball_xds::{ClientId, Nack, Protocol};

    use super::*;

    fn kind(kind: Kind, refused: Option<&str>, in_sync: bool) -> KindStatus {
        let nack = |version: &str| Nack {
            version: version.to_owned(),
            code: 13,
            message: "no".repeat(MAX_WORDS),
            at: SystemTime::UNIX_EPOCH,
        };
        KindStatus {
            kind,
            sent: None,
            acked: None,
            in_sync,
            refuses: refused.is_some(),
            nack: refused.map(nack),
            changed_at: SystemTime::UNIX_EPOCH,
        }
    }

    fn client(snapshot: &str, kinds: Vec<KindStatus>) -> ClientStatus {
        ClientStatus {
            id: ClientId(1),
            node_id: "envoy-1".to_owned(),
            user_agent: String::new(),
            peer: None,
            protocol: Protocol::Delta,
            connected_at: SystemTime::UNIX_EPOCH,
            snapshot: Some(snapshot.to_owned()),
            kinds,
        }
    }

    fn of(kinds: Vec<KindStatus>, before: u64) -> (usize, bool, bool) {
        let answers = Answers::of(&[client("a-9", kinds)], "a-9", before);
        (answers.behind, answers.refused.is_some(), answers.standing.is_some())
    }

    #[test]
    fn numbers_of_pushes_are_read_from_their_versions() {
        assert_eq!(version(255, 7), "ff-7");
        for (version, wanted) in
            [("ff-7", Some(7)), ("ff-12/3", Some(12)), ("a-5~", Some(5)), ("7", None), ("a-", None)]
        {
            assert_eq!(number(version), wanted, "{version}");
        }
    }

    #[test]
    fn only_what_was_pushed_since_is_the_changes_fault() {
        let clusters = |version| vec![kind(Kind::Cluster, Some(version), false)];
        assert_eq!(of(clusters("a-9"), 8), (0, true, false));
        assert_eq!(of(clusters("a-8/2~"), 8), (0, false, true));
        assert_eq!(of(clusters("a-8"), 7), (0, true, false), "a part that was pushed before");
        let listeners = || kind(Kind::Listener, Some("a-9"), false);
        assert_eq!(of(vec![listeners()], 0), (0, false, true), "no policy changes them");
        let answers = Answers::of(&[client("a-9", clusters("a-9"))], "a-9", 8);
        assert!(answers.refused.unwrap().len() < MAX_WORDS + 100);
    }

    #[test]
    fn whoever_refuses_something_old_has_not_answered_the_rest() {
        let old = || kind(Kind::Listener, Some("a-1"), false);
        let weights = |in_sync| kind(Kind::Endpoint, None, in_sync);
        assert_eq!(of(vec![old(), weights(false)], 8), (1, false, true));
        assert_eq!(of(vec![old(), weights(true)], 8), (0, false, true));
        let held_back =
            vec![kind(Kind::Cluster, Some("a-1"), false), kind(Kind::Route, None, false)];
        assert_eq!(of(held_back, 8), (0, false, true));
        assert_eq!(of(Vec::new(), 8), (1, false, false), "it has not asked yet");
        let late = client("a-8", vec![weights(true)]);
        assert_eq!(Answers::of(&[late], "a-9", 8).behind, 1);
    }
}
