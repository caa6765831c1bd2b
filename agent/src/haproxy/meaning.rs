//! What a weight means under each of HAProxy's algorithms, at run time.
//!
//! By haproxy's `src/lb_*.c` and by counting requests (tests): `roundrobin` keeps to it exactly; `leastconn` ranks idle servers alike, because their key is 0 whatever the weight;
//! `random` draws by weight and takes the less loaded of two; those that are made of a map when HAProxy starts take no other weight than 0 % and 100 %.
//!
//! HAProxy 2.6 calls `random` `unknown`, and it is the only one that it calls so for HTTP and TCP.

use flyball_proto::steering::WeightMeaning;

/// How an algorithm is called, as the configuration has it.
pub(crate) fn name(algorithm: &str) -> &str {
    if algorithm == "unknown" { "random" } else { algorithm }
}

/// The meaning under an algorithm as `show stat` names it, and the same in words.
pub(crate) fn meaning(algorithm: &str) -> (WeightMeaning, &'static str) {
    match name(algorithm) {
        "roundrobin" => (WeightMeaning::Exact, "requests are shared in proportion to weights"),
        "leastconn" => (
            WeightMeaning::WhenBusy,
            "weights count only between servers that have requests under way: idle ones are taken in turn",
        ),
        "random" => (
            WeightMeaning::Draw,
            "servers are drawn by weight, and of those drawn the less loaded one is taken",
        ),
        "first" => (
            WeightMeaning::None,
            "servers are filled one after the other up to their maxconn: weights are ignored",
        ),
        "static-rr" | "source" | "uri" | "url_param" | "hdr" | "rdp-cookie" | "hash" => (
            WeightMeaning::DrainOnly,
            "servers are taken by a map made when HAProxy starts: at run time it takes only 0 % and 100 %, and with consistent hashing another weight would move keys",
        ),
        "" => (
            WeightMeaning::None,
            "HAProxy does not say by which algorithm requests are shared: its socket needs level operator",
        ),
        _ => (WeightMeaning::None, "an algorithm that Flyball does not know: its weights are left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_algorithms_that_heed_weights_are_tunable() {
        let tunable = |algorithm| meaning(algorithm).0.is_tunable();
        assert!(["roundrobin", "leastconn", "random", "unknown"].into_iter().all(tunable));
        assert!(!["static-rr", "source", "uri", "first", "new", ""].into_iter().any(tunable));
    }
}
