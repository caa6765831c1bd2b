//! Counters that begin again, and servers that come back.

use rustix::process::Signal;

use crate::harness::{Observed, Server, run};

const HITS: &str = "redis.keyspace.hits{cache=a}";
const STARTED: &str = "flyball.redis.started{cache=a}";

#[test]
fn counters_that_are_set_to_zero_are_flagged_and_have_a_new_beginning() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    run(&mut client, &["SET", "k", "v"]);
    for _ in 0..9 {
        run(&mut client, &["GET", "k"]);
    }
    let instance = server.instance("a");
    let mut observed = Observed::new(std::slice::from_ref(&instance));
    observed.read_until_state("a", "up");
    instance.probes().count(4, 0);
    observed.read();
    assert_eq!(observed.raw(HITS), 9, "what was too much once does not fall");
    let started = observed.raw(STARTED);

    run(&mut client, &["CONFIG", "RESETSTAT"]);
    run(&mut client, &["GET", "k"]);
    observed.read();
    assert_eq!((observed.raw(HITS), observed.values[HITS].reset), (1, true));
    assert!(observed.values["redis.net.input{cache=a}"].reset);
    assert!(!observed.values["redis.uptime{cache=a}"].reset, "the server did not start again");
    assert_eq!(observed.raw("flyball.redis.probes{cache=a,flyball.result=hit}"), 0);
    let restarted = observed.raw(STARTED);
    assert!(restarted > started);
    observed.read();
    assert_eq!((observed.raw(HITS), observed.values[HITS].reset), (1, false));
    assert_eq!(observed.raw(STARTED), restarted);

    drop(observed);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "up");
    assert_eq!(observed.raw(STARTED), restarted, "the next agent knows it too");
}

#[test]
fn commands_are_flagged_with_the_next_detail() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let calls = "redis.cmd.calls{cache=a,cmd=get}";
    run(&mut client, &["GET", "k"]);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until("commands", |o| o.get(calls) == Some(1));
    run(&mut client, &["CONFIG", "RESETSTAT"]);
    observed.read();
    for _ in 0..7 {
        run(&mut client, &["GET", "k"]);
    }
    run(&mut client, &["SET", "k", "v"]);
    observed.read_until("the next detail", |o| o.get(calls).is_some());
    assert_eq!((observed.raw(calls), observed.values[calls].reset), (7, true));
    let set = "redis.cmd.calls{cache=a,cmd=set}";
    assert_eq!((observed.raw(set), observed.values[set].reset), (1, true), "it is new");
}

#[test]
fn a_server_that_goes_is_unreachable_and_comes_back_as_a_new_run() {
    let mut server = Server::start(&[]);
    run(&mut server.connect(), &["GET", "k"]);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "up");
    server.kill();
    observed.read_until_state("a", "unreachable");
    assert_eq!(observed.get("redis.memory.used{cache=a}"), None);
    server.restart();
    observed.read_until_state("a", "up");
    let misses = "redis.keyspace.misses{cache=a}";
    assert_eq!((observed.raw(misses), observed.values[misses].reset), (0, true));
    assert!(observed.values["redis.uptime{cache=a}"].reset);
}

#[test]
fn a_server_that_reads_its_data_is_loading() {
    let mut server = Server::start(&["--enable-debug-command", "yes", "--dbfilename", "dump.rdb"]);
    let mut client = server.connect();
    run(&mut client, &["DEBUG", "POPULATE", "20000"]);
    run(&mut client, &["SAVE"]);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "up");
    server.kill();
    // 200 us for each key: four seconds.
    server.add_option(&[
        "--key-load-delay",
        "200",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    server.restart();
    observed.read_until_state("a", "loading");
    assert!(observed.raw("redis.memory.used{cache=a}") > 0, "what INFO says is known");
    observed.read_until_state("a", "up");
    assert_eq!(observed.raw("redis.db.keys{cache=a,db=0}"), 20_000);
}

#[test]
fn a_server_that_is_stopped_is_slow_and_goes_on() {
    let server = Server::start(&[]);
    let other = Server::start(&[]);
    let slow = crate::harness::short(server.config("a"), server.dir.path());
    let mut observed = Observed::new(&[slow, other.instance("b")]);
    observed.read_until_state("a", "up");
    observed.read_until_state("b", "up");
    server.signal(Signal::STOP);
    observed.read_until("the other one only", |o| o.get("redis.memory.used{cache=a}").is_none());
    observed.read_until_state("a", "slow");
    assert_eq!(observed.get("redis.memory.used{cache=a}"), None);
    assert!(observed.raw("redis.memory.used{cache=b}") > 0, "one does not delay the other");
    server.signal(Signal::CONT);
    observed.read_until_state("a", "up");
    assert!(observed.raw("redis.memory.used{cache=a}") > 0);
}
