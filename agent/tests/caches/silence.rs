//! What is no Redis, and many that are not there.

use std::io::Write as _;
use std::net::TcpListener;

use flyball_agent::redis::{Connection, Instance, RedisConfig, State};

use crate::harness::{Observed, Server, free_port, until};

#[test]
fn something_else_that_answers_is_no_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let url = format!("redis://127.0.0.1:{port}");
    let config = RedisConfig { name: "a".to_owned(), url, ..RedisConfig::default() };
    let instance = Instance::new(config, dir.path()).unwrap();
    let error = Connection::open(&instance).unwrap_err();
    assert_eq!(error.state(), State::Unreachable);
    assert!(error.to_string().contains("not the answer of a redis"), "{error}");
    Observed::new(&[instance]).read_until_state("a", "unreachable");
}

#[test]
fn many_that_are_not_there_delay_none_that_is() {
    let server = Server::start(&[]);
    let dead = |n: usize| {
        let url = format!("redis://127.0.0.1:{}", free_port());
        let config = RedisConfig { name: format!("dead-{n}"), url, ..RedisConfig::default() };
        server.instance_of(config)
    };
    let mut instances: Vec<_> = (0..8).map(dead).collect();
    instances.push(server.instance("a"));
    let mut observed = Observed::new(&instances);
    observed.read_until_state("a", "up");
    observed.read_until_state("dead-7", "unreachable");
    for _ in 0..20 {
        observed.read();
        assert!(observed.get("redis.memory.used{cache=a}").is_some());
    }
}

#[test]
fn more_clients_than_it_takes_is_unreachable() {
    let server = Server::start(&["--maxclients", "1"]);
    let mut only = None;
    // The connection that showed that it listens may not be gone yet.
    until("the only connection", || {
        only = Connection::open(&server.instance("test")).ok();
        only.is_some()
    });
    let error = Connection::open(&server.instance("a")).unwrap_err();
    assert_eq!(error.state(), State::Unreachable, "{error}");
}
