//! What is published of a Redis that works.

use std::time::Duration;

use flyball_agent::redis::{Connection, RedisConfig, Shares};

use crate::harness::{Observed, Server, free_port, run};

#[test]
fn what_clients_do_is_in_the_samples() {
    let server = Server::start(&[
        "--maxmemory",
        "32mb",
        "--maxmemory-policy",
        "allkeys-lru",
        "--slowlog-log-slower-than",
        "0",
    ]);
    let mut client = server.connect();
    run(&mut client, &["SET", "a", "1"]);
    run(&mut client, &["SET", "b", "1", "EX", "1000"]);
    for _ in 0..3 {
        run(&mut client, &["GET", "a"]);
    }
    run(&mut client, &["GET", "none"]);
    assert!(client.call(&[b"LPUSH", b"a", b"1"]).is_err());
    let mut observed = Observed::new(&[server.instance("sessions")]);
    observed.read_until_state("sessions", "up");
    for (name, value) in [
        ("redis.keyspace.hits{cache=sessions}", 3),
        ("redis.keyspace.misses{cache=sessions}", 1),
        ("redis.db.keys{cache=sessions,db=0}", 2),
        ("redis.db.expires{cache=sessions,db=0}", 1),
        ("redis.maxmemory{cache=sessions}", 32 << 20),
        ("redis.cmd.calls{cache=sessions,cmd=get}", 4),
        ("flyball.redis.cmd.failures{cache=sessions,cmd=lpush,flyball.reason=failed}", 1),
        ("redis.role{cache=sessions,role=primary}", 1),
        ("redis.role{cache=sessions,role=replica}", 0),
        ("flyball.redis.commands.refused{cache=sessions}", 0),
        ("flyball.redis.slowlog.entries{cache=sessions}", 0),
        ("flyball.redis.probes{cache=sessions,flyball.result=hit}", 0),
        (
            "flyball.redis.info{cache=sessions,eviction_policy=allkeys-lru,mode=standalone,product=redis,role=primary,version=7.0.15}",
            1,
        ),
    ] {
        if name.starts_with("flyball.redis.info") {
            let info =
                observed.values.keys().filter(|label| label.starts_with("flyball.redis.info"));
            let info: Vec<_> = info.collect();
            assert_eq!(info.len(), 1);
            assert!(info[0].contains("eviction_policy=allkeys-lru,mode=standalone,product="));
        } else {
            assert_eq!(observed.raw(name), value, "{name}");
        }
    }
    for positive in [
        "flyball.redis.response_time{cache=sessions}",
        "redis.memory.rss{cache=sessions}",
        "redis.cmd.usec{cache=sessions,cmd=get}",
        "redis.cmd.latency{cache=sessions,cmd=get,percentile=p99.9}",
        "redis.net.output{cache=sessions}",
    ] {
        assert!(observed.raw(positive) > 0, "{positive}");
    }
    let sum = |prefix: &str| -> i64 {
        let of = observed.values.iter().filter(|(label, _)| label.starts_with(prefix));
        of.map(|(_, value)| value.raw).sum()
    };
    assert_eq!(
        sum("flyball.redis.memory.breakdown"),
        observed.raw("redis.memory.used{cache=sessions}")
    );
    // Two SET, four GET, one LPUSH that failed; CLIENT and INFO are the agent's own.
    assert_eq!(sum("flyball.redis.commands.duration"), 7);
    let now_ms = flyball_agent_now_ms();
    let started_ms = observed.raw("flyball.redis.started{cache=sessions}");
    assert!((now_ms - 60_000..=now_ms).contains(&started_ms), "{started_ms}");

    run(&mut client, &["GET", "a"]);
    observed.read_until("the next detail", |o| {
        o.get("redis.cmd.calls{cache=sessions,cmd=get}") == Some(5)
    });
    assert!(observed.raw("flyball.redis.slowlog.entries{cache=sessions}") >= 1);
    assert!(observed.raw("flyball.redis.slowlog.longest{cache=sessions}") >= 0);
}

fn flyball_agent_now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis() as i64
}

#[test]
fn own_lookups_are_subtracted_and_stay_so_over_a_restart_of_the_agent() {
    let server = Server::start(&[]);
    let instance = server.instance("a");
    let mut client = server.connect();
    run(&mut client, &["SET", "k", "v"]);
    let hits = "redis.keyspace.hits{cache=a}";
    let misses = "redis.keyspace.misses{cache=a}";
    let mut observed = Observed::new(std::slice::from_ref(&instance));
    observed.read_until_state("a", "up");
    for _ in 0..5 {
        run(&mut client, &["GET", "k"]);
        run(&mut client, &["OBJECT", "IDLETIME", "k"]);
        run(&mut client, &["EXISTS", "none"]);
        run(&mut client, &["RANDOMKEY"]);
        run(&mut client, &["MEMORY", "USAGE", "k"]);
        instance.probes().count(1, 1);
    }
    observed.read_until("five hits", |o| o.raw(hits) >= 5);
    observed.read();
    assert_eq!((observed.raw(hits), observed.raw(misses)), (5, 0));
    assert_eq!(observed.raw("flyball.redis.probes{cache=a,flyball.result=miss}"), 5);

    drop(observed);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "up");
    assert_eq!((observed.raw(hits), observed.raw(misses)), (5, 0), "another agent goes on");
    assert_eq!(observed.raw("flyball.redis.probes{cache=a,flyball.result=hit}"), 5);
}

#[test]
fn misses_are_attributed_while_somebody_knows_their_reasons() {
    let server = Server::start(&[]);
    let instance = server.instance("a");
    let mut observed = Observed::new(std::slice::from_ref(&instance));
    observed.read_until_state("a", "up");
    let reason = |reason: &str| format!("flyball.redis.misses{{cache=a,flyball.reason={reason}}}");
    assert_eq!(observed.get(&reason("capacity")), None);
    instance.attribution().set(Some(Shares { capacity: 0.5, expired: 0.25, ..Shares::default() }));
    let mut client = server.connect();
    for _ in 0..8 {
        run(&mut client, &["GET", "none"]);
    }
    observed.read();
    let values = ["capacity", "expired", "invalidated", "cold"].map(|r| observed.raw(&reason(r)));
    assert_eq!(values, [4, 2, 0, 0]);
    instance.attribution().set(None);
    observed.read();
    assert_eq!(observed.get(&reason("capacity")), None);
}

#[test]
fn a_policy_that_is_changed_is_another_info() {
    let server = Server::start(&[]);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "up");
    run(&mut server.connect(), &["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]);
    observed.read();
    let infos = observed.values.keys().filter(|label| label.starts_with("flyball.redis.info"));
    let infos: Vec<_> = infos.collect();
    assert!(infos.len() == 1 && infos[0].contains("eviction_policy=allkeys-lfu"), "{infos:?}");
}

#[test]
fn a_database_that_is_emptied_has_no_keys() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    run(&mut client, &["SELECT", "3"]);
    run(&mut client, &["SET", "k", "v"]);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "up");
    assert_eq!(observed.raw("redis.db.keys{cache=a,db=3}"), 1);
    run(&mut client, &["FLUSHALL"]);
    observed.read();
    assert_eq!(observed.raw("redis.db.keys{cache=a,db=3}"), 0);
}

#[test]
fn a_replica_and_its_primary_tell_their_places() {
    let primary = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
    let mut observed = Observed::new(&[primary.instance("p"), replica.instance("r")]);
    observed.read_until("replication", |o| {
        o.get("flyball.redis.replication.link{cache=r}") == Some(1)
            && o.get("flyball.redis.replication.lag{cache=p}").is_some()
    });
    assert_eq!(observed.raw("redis.slaves.connected{cache=p}"), 1);
    assert_eq!(observed.raw("redis.role{cache=r,role=replica}"), 1);
    assert!(observed.raw("redis.replication.replica_offset{cache=r}") >= 0);
    assert_eq!(observed.raw("flyball.redis.replication.syncs{cache=p,flyball.result=full}"), 1);
}

#[test]
fn a_node_of_a_cluster_tells_of_its_slots() {
    let bus = free_port().to_string();
    let server = Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    run(&mut server.connect(), &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until("the cluster", |o| o.get("redis.cluster.state{cache=a}") == Some(1));
    assert_eq!(observed.raw("redis.cluster.slots_assigned{cache=a}"), 16_384);
    assert_eq!(observed.raw("redis.cluster.node.count{cache=a}"), 1);
}

#[test]
fn connections_have_our_name_and_go_through_sockets_and_databases() {
    let server = Server::start(&["--unixsocket", "redis.sock"]);
    let url = format!("unix://{}", server.dir.path().join("redis.sock").display());
    let config = RedisConfig { name: "s".to_owned(), url, ..RedisConfig::default() };
    let mut client = Connection::open(&server.instance_of(config)).unwrap();
    let list = run(&mut client, &["CLIENT", "LIST"]);
    let list = String::from_utf8(list.text().unwrap().to_vec()).unwrap();
    assert!(list.contains("name=flyball-agent"), "{list}");
    assert_eq!(client.receive_within(Duration::from_millis(1)).unwrap(), None);

    let url = format!("redis://127.0.0.1:{}/5", server.port);
    let config = RedisConfig { name: "s".to_owned(), url, ..RedisConfig::default() };
    run(&mut Connection::open(&server.instance_of(config)).unwrap(), &["SET", "k", "v"]);
    run(&mut client, &["SELECT", "5"]);
    assert_eq!(run(&mut client, &["GET", "k"]).text(), Some(&b"v"[..]));
}
