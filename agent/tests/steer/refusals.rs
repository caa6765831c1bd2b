//! What is refused, with its reason, and everything as it was.

use flyball_proto::steering::{AgentPolicy, Growth, PolicyOutcome, PolicyResult};

use crate::collector::{Agent, Collector, canary, eventually, in_force, permanent};
use crate::harness::{Server, run};
use crate::{LIMIT, MB, mb, server, sets};

/// The rejection of a policy.
async fn rejection(collector: &mut Collector, policy: AgentPolicy) -> PolicyOutcome {
    let revision = policy.revision;
    collector.want(policy);
    loop {
        let outcome = collector.any_outcome().await;
        if outcome.revision == revision && outcome.result != PolicyResult::Applying {
            assert_eq!(outcome.result, PolicyResult::Rejected, "{outcome:?}");
            return outcome;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_beyond_the_guard_rails_is_refused() {
    let (server, mut collector) = (server(64), Collector::start());
    let _agent = Agent::started(&collector, &server, "");
    let huge = mb(1 << 30);
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[(LIMIT, &mb(129))], "by more than a factor of 2"),
        (&[(LIMIT, &mb(31))], "by more than a factor of 2"),
        (&[(LIMIT, &huge)], "maxmemory: "),
        (&[(LIMIT, "0")], "is not from 1048576 to"),
        (&[("appendonly", "yes")], "appendonly: may not be set"),
        (&[("maxmemory-policy", "random")], "is not one of"),
        (&[("maxmemory-samples", "65")], "65 is not from 1 to 64"),
    ];
    for (revision, (wanted, reason)) in (1..).zip(cases) {
        let outcome = rejection(&mut collector, canary(revision, wanted, &[])).await;
        assert!(outcome.reason.contains(reason), "{}", outcome.reason);
    }
    let other = canary(20, &[(LIMIT, &mb(65))], &[(LIMIT, &mb(63))]);
    let outcome = rejection(&mut collector, other).await;
    assert!(outcome.reason.contains("decided on when it was"), "{}", outcome.reason);
    let mut nobody = permanent(21, &[(LIMIT, &mb(65))]);
    nobody.targets[0].target.name = "nobody".to_owned();
    let outcome = rejection(&mut collector, nobody).await;
    assert_eq!(
        (outcome.reason.as_str(), outcome.target.name.as_str()),
        ("no such target here", "nobody")
    );
    assert_eq!((sets(&server), in_force(&server, LIMIT)), (0, mb(64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_than_there_is_is_refused() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total_mb = total.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    let (server, mut collector) = (server(total_mb / 2), Collector::start());
    let settings = "[steer]\nmax_memory_share = 0.9\nlargest_growth = 4.0";
    let _agent = Agent::started(&collector, &server, settings);
    let capability = collector.hello().await.capabilities.remove(0);
    assert_eq!(capability.largest_growth, Growth::new(4.0));
    let most_mb = total_mb * 9 / 10;
    let outcome = rejection(&mut collector, canary(1, &[(LIMIT, &mb(most_mb + 8))], &[])).await;
    assert!(outcome.reason.contains("is not from 1048576 to "), "{}", outcome.reason);
    // No more than may be taken of the host, but of what is available no host has all: the kernel and this test use more than 16 MB.
    let outcome = rejection(&mut collector, canary(2, &[(LIMIT, &mb(most_mb - 8))], &[])).await;
    assert!(outcome.reason.contains("are available"), "{}", outcome.reason);
    assert_eq!(sets(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_servers_of_the_host_may_still_take_is_not_given_away() {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total_mb = total.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    let (first, second, mut collector) = (server(64), server(total_mb), Collector::start());
    let entry = |name: &str, server: &Server| {
        let url = format!("redis://127.0.0.1:{}", server.port);
        format!("[[redis]]\nname = '{name}'\nurl = '{url}'\nsteer = true\n")
    };
    let settings = entry("sessions", &first) + &entry("second", &second);
    let mut agent = Agent::of(&collector, &settings);
    agent.start();
    let mut other = permanent(1, &[("maxmemory-samples", "9")]);
    other.targets[0].target.name = "second".to_owned();
    collector.want(other);
    collector.outcome(1, PolicyResult::Applied).await;
    let outcome = rejection(&mut collector, canary(2, &[(LIMIT, &mb(96))], &[])).await;
    assert!(outcome.reason.contains("are promised to other servers"), "{}", outcome.reason);
    assert_eq!(in_force(&first, LIMIT), mb(64));
    // Less is promised when it has less.
    run(&mut second.connect(), &["CONFIG", "SET", LIMIT, &mb(64)]);
    let mut other = permanent(3, &[("maxmemory-samples", "8")]);
    other.targets[0].target.name = "second".to_owned();
    collector.want(other);
    collector.outcome(3, PolicyResult::Applied).await;
    collector.want(canary(4, &[(LIMIT, &mb(96))], &[]));
    collector.outcome(4, PolicyResult::Applied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_quoted_and_everything_is_as_it_was() {
    let (server, mut collector) = (server(64), Collector::start());
    let rule = ["ACL", "SETUSER", "default", "-config|set", "-config|rewrite"];
    let _agent = Agent::started(&collector, &server, "");
    collector.want(permanent(1, &[("maxmemory-samples", "9")]));
    collector.outcome(1, PolicyResult::Applied).await;
    run(&mut server.connect(), &rule);
    let outcome = rejection(&mut collector, canary(2, &[(LIMIT, &mb(65))], &[])).await;
    assert!(outcome.reason.starts_with("NOPERM "), "{}", outcome.reason);
    assert!(outcome.reason.contains("config|set"), "{}", outcome.reason);
    assert_eq!(in_force(&server, LIMIT), mb(64));
    run(&mut server.connect(), &["ACL", "SETUSER", "default", "-config|get"]);
    let outcome = rejection(&mut collector, canary(3, &[(LIMIT, &mb(65))], &[])).await;
    assert!(outcome.reason.contains("config|get"), "{}", outcome.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_half_way_takes_back_what_was_done() {
    let (server, mut collector) = (server(64), Collector::start());
    let _agent = Agent::started(&collector, &server, "");
    // Defragmentation needs an allocator that not every build has; a value out of its own bounds is refused by any.
    let wanted = [(LIMIT, &*mb(100)), ("lfu-log-factor", "12"), ("activedefrag", "yes")];
    run(&mut server.connect(), &["CONFIG", "SET", "activedefrag", "no"]);
    let before = sets(&server);
    collector.want(canary(1, &wanted, &[]));
    let outcome = loop {
        let outcome = collector.any_outcome().await;
        if outcome.result != PolicyResult::Applying {
            break outcome;
        }
    };
    match outcome.result {
        PolicyResult::Rejected => {
            assert!(outcome.reason.contains("ctive defrag"), "{}", outcome.reason);
            assert_eq!(in_force(&server, LIMIT), mb(64));
            assert_eq!(in_force(&server, "lfu-log-factor"), "10");
            assert!(sets(&server) > before, "something was taken back");
        }
        PolicyResult::Applied => assert_eq!(in_force(&server, "activedefrag"), "yes"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_refused() {
    let (primary, mut collector) = (server(64), Collector::start());
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    let _agent = Agent::started(&collector, &replica, "");
    let outcome = rejection(&mut collector, canary(1, &[("maxmemory-samples", "9")], &[])).await;
    assert!(outcome.reason.contains("it is a replica"), "{}", outcome.reason);
    assert_eq!(sets(&replica), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_may_not_be_steered_says_so() {
    let (server, mut collector) = (server(64), Collector::start());
    let mut agent = Agent::new(&collector, &server, "");
    let file = agent.dir.path().join("agent.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("steer = true", "steer = false")).unwrap();
    agent.start();
    let capability = collector.hello().await.capabilities.remove(0);
    assert!(capability.parameters.is_empty() && capability.largest_growth.is_none());
    assert!(capability.reason.contains("steer = true is not set"), "{}", capability.reason);
    let outcome = rejection(&mut collector, permanent(1, &[(LIMIT, &mb(65))])).await;
    assert_eq!(outcome.reason, capability.reason);
    assert_eq!(sets(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_at_a_target_that_may_no_longer_be_steered_is_put_back() {
    let (server, mut collector) = (server(64), Collector::start());
    let mut agent = Agent::started(&collector, &server, "");
    let mut trial = canary(1, &[(LIMIT, &mb(100))], &[(LIMIT, &mb(64))]);
    trial.targets[0].canary.as_mut().unwrap().lease = std::time::Duration::from_hours(1);
    collector.want(trial.clone());
    collector.outcome(1, PolicyResult::Applied).await;
    agent.stop();
    let file = agent.dir.path().join("agent.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    agent.set(&settings.replace("steer = true", "steer = false"));
    agent.start();
    let capability = collector.hello().await.capabilities.remove(0);
    assert!(capability.parameters.is_empty());
    let reverted = collector.outcome(1, PolicyResult::Reverted).await;
    assert_eq!((reverted.reason, in_force(&server, LIMIT)), (capability.reason, mb(64)));
    // Its collector may want to see the old values, and gets nothing else.
    collector.want(permanent(2, &[(LIMIT, &mb(64))]));
    collector.outcome(2, PolicyResult::Applied).await;
    let sets = sets(&server);
    let outcome = rejection(&mut collector, permanent(3, &[(LIMIT, &mb(65))])).await;
    assert!(outcome.reason.contains("steer = true is not set"), "{}", outcome.reason);
    // Also after another start, when nothing is to be put back any more.
    agent.stop();
    agent.start();
    let outcome = rejection(&mut collector, permanent(4, &[(LIMIT, &mb(66))])).await;
    assert_eq!(outcome.in_force[LIMIT], mb(64));
    assert_eq!(crate::sets(&server), sets);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_away_is_waited_for() {
    let (mut server, mut collector) = (server(64), Collector::start());
    server.kill();
    let _agent = Agent::started(&collector, &server, "");
    collector.want(permanent(1, &[(LIMIT, &mb(65))]));
    let waiting = collector.outcome(1, PolicyResult::Applying).await;
    assert!(waiting.reason.contains("cannot reach"), "{}", waiting.reason);
    server.restart();
    collector.outcome(1, PolicyResult::Applied).await;
    assert_eq!(in_force(&server, LIMIT), mb(65));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_evicted_is_not_shrunk() {
    let limit = mb(8);
    let server = Server::start(&["--maxmemory", &limit, "--maxmemory-policy", "volatile-lru"]);
    let mut collector = Collector::start();
    let _agent = Agent::started(&collector, &server, "");
    let mut connection = server.connect();
    let script = "for i = 1, 5000 do redis.call('SET', 'k' .. i, string.rep('x', 1000)) end";
    run(&mut connection, &["EVAL", script, "0"]);
    let used = crate::info(&server, "used_memory");
    assert!(used > 5 * MB, "{used}");
    let outcome = rejection(&mut collector, canary(1, &[(LIMIT, &mb(4))], &[])).await;
    assert!(outcome.reason.contains("nothing could be evicted"), "{}", outcome.reason);
    run(&mut connection, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let outcome = rejection(&mut collector, canary(2, &[(LIMIT, &mb(4))], &[])).await;
    assert!(outcome.reason.contains("writes would be refused"), "{}", outcome.reason);
    eventually("still there", || run(&mut connection, &["DBSIZE"]).integer() == Some(5_000)).await;
}
