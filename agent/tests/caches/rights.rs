//! Users, passwords, certificates: what is refused is a state with a reason, and no secret is told.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use flyball_agent::redis::{Connection, Error, Instance, RedisConfig, State};

use crate::harness::{Observed, Server, run};

/// A server with a user that may do this.
fn with_user(rights: &str) -> (Server, RedisConfig) {
    let server = Server::start(&[]);
    let mut words = vec!["ACL", "SETUSER", "agent", "on", ">secret"];
    words.extend(rights.split(' '));
    run(&mut server.connect(), &words);
    let config = RedisConfig {
        username: Some("agent".to_owned()),
        password_file: Some(server.password("secret")),
        ..server.config("a")
    };
    (server, config)
}

#[test]
fn the_rights_that_the_manual_asks_for_are_enough() {
    let manual = include_str!("../../../docs/redis.md");
    let line = manual.lines().find(|line| line.trim().starts_with("ACL SETUSER flyball")).unwrap();
    let rights = line.split_once(" resetkeys ").unwrap().1;
    let (server, config) = with_user(rights);
    let mut observed = Observed::new(&[server.instance_of(config)]);
    observed.read_until_state("a", "up");
    assert_eq!(observed.raw("flyball.redis.commands.refused{cache=a}"), 0);
    assert!(observed.get("flyball.redis.slowlog.entries{cache=a}").is_some());
}

#[test]
fn a_user_who_may_only_ask_for_info_gets_the_rest() {
    let (server, config) = with_user("+info");
    let mut observed = Observed::new(&[server.instance_of(config)]);
    observed.read_until_state("a", "up");
    assert_eq!(observed.raw("flyball.redis.commands.refused{cache=a}"), 3);
    assert_eq!(observed.raw("redis.cmd.calls{cache=a,cmd=info}"), 1);
    assert_eq!(observed.get("flyball.redis.slowlog.entries{cache=a}"), None);
}

#[test]
fn a_user_who_may_do_nothing_is_denied_until_he_may() {
    let (server, config) = with_user("+ping");
    let mut observed = Observed::new(&[server.instance_of(config)]);
    observed.read_until_state("a", "denied");
    assert_eq!(observed.get("redis.memory.used{cache=a}"), None);
    run(&mut server.connect(), &["ACL", "SETUSER", "agent", "+info"]);
    observed.read_until_state("a", "up");
    assert!(observed.raw("redis.memory.used{cache=a}") > 0);
}

#[test]
fn a_wrong_password_is_denied_until_the_file_has_the_right_one() {
    let server = Server::start(&["--requirepass", "right"]);
    let config =
        RedisConfig { password_file: Some(server.password("wrong")), ..server.config("a") };
    let instance = server.instance_of(config);
    let error = Connection::open(&instance).unwrap_err();
    assert_eq!(error.state(), State::Denied);
    assert!(error.to_string().starts_with("WRONGPASS"), "{error}");
    let mut observed = Observed::new(&[instance]);
    observed.read_until_state("a", "denied");
    server.password("right");
    observed.read_until_state("a", "up");
}

#[test]
fn without_a_password_or_with_a_file_that_is_not_there_it_is_denied() {
    let server = Server::start(&["--requirepass", "right"]);
    let error = Connection::open(&server.instance("a")).unwrap_err();
    assert!(error.to_string().starts_with("NOAUTH"), "{error}");
    assert_eq!(error.state(), State::Denied);
    let config =
        RedisConfig { password_file: Some("/nonexistent/password".into()), ..server.config("a") };
    let error = Connection::open(&server.instance_of(config)).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert_eq!(error.state(), State::Denied);
}

#[test]
fn a_command_that_is_renamed_is_denied_and_no_password_is_told() {
    let server = Server::start(&["--rename-command", "INFO", "SECRET_INFO"]);
    let mut observed = Observed::new(&[server.instance("a")]);
    observed.read_until_state("a", "denied");

    let server = Server::start(&["--rename-command", "AUTH", ""]);
    let config = RedisConfig { password_file: Some(server.password("hush")), ..server.config("a") };
    let error = Connection::open(&server.instance_of(config)).unwrap_err();
    assert!(error.to_string().contains("unknown command"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[test]
fn what_repeats_a_password_is_not_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 256];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..length]).replace("\r\n", " ");
        stream.write_all(format!("-ERR what is {request}?\r\n").as_bytes()).unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "hush").unwrap();
    let config = RedisConfig {
        name: "a".to_owned(),
        url: format!("redis://127.0.0.1:{port}"),
        password_file: Some(password),
        ..RedisConfig::default()
    };
    let error = Connection::open(&Instance::new(config, dir.path()).unwrap()).unwrap_err();
    answering.join().unwrap();
    let text = error.to_string();
    assert!(text.contains("ERR what is") && !text.contains("hush"), "{text}");
}

#[test]
fn tls_with_certificates_on_both_sides() {
    let server = Server::start_tls();
    let file = |name: &str| Some(server.dir.path().join(name));
    let config = RedisConfig {
        url: format!("rediss://127.0.0.1:{}", server.port),
        ca_file: file("ca.pem"),
        cert_file: file("client.pem"),
        key_file: file("client.key"),
        ..server.config("a")
    };
    let mut observed = Observed::new(&[server.instance_of(config.clone())]);
    observed.read_until_state("a", "up");
    assert!(observed.raw("redis.memory.used{cache=a}") > 0);

    let mut client = Connection::open(&server.instance_of(config.clone())).unwrap();
    let large = "x".repeat(3 << 20);
    run(&mut client, &["SET", "k", &large]);
    assert_eq!(run(&mut client, &["GET", "k"]).text().unwrap().len(), large.len());

    let stranger = RedisConfig { ca_file: None, ..config.clone() };
    let error = Connection::open(&server.instance_of(stranger)).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(error.state(), State::Unreachable);
    let nobody = RedisConfig { cert_file: None, key_file: None, ..config.clone() };
    assert!(Connection::open(&server.instance_of(nobody)).is_err());
    let missing = RedisConfig { ca_file: file("none.pem"), ..config };
    let error = Connection::open(&server.instance_of(missing)).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
}

#[test]
fn plain_text_to_a_tls_server_is_no_redis() {
    let server = Server::start_tls();
    let error = Connection::open(&server.instance("a")).unwrap_err();
    assert_eq!(error.state(), State::Unreachable, "{error}");
}
