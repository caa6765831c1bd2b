//! memcached: what is published of one that works, and how the others are.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flyball_agent::sense::{MemcachedConfig, MemcachedServer};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Observed, free_port, until};

/// A memcached. It ends with the value.
struct Server {
    port: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
    options: Vec<&'static str>,
}

impl Server {
    fn start(options: &[&'static str]) -> Self {
        let (dir, options) = (tempfile::tempdir().unwrap(), options.to_vec());
        let mut server = Self { port: free_port(), dir, child: None, options };
        server.restart();
        server
    }

    fn restart(&mut self) {
        let mut command = Command::new("memcached");
        let port = self.port.to_string();
        command.args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-p", &port]);
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("memcached is installed"));
        until("memcached to listen", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    fn server(&self) -> MemcachedServer {
        at(&format!("127.0.0.1:{}", self.port), self.dir.path())
    }

    /// Sends commands and waits for the version that is asked for after them.
    fn run(&self, commands: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{commands}version\r\nquit\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("VERSION"), "{answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be stopped, or have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn at(address: &str, dir: &Path) -> MemcachedServer {
    let config = MemcachedConfig { name: "a".to_owned(), address: address.to_owned() };
    MemcachedServer::new(&config, dir).unwrap()
}

const HITS: &str = "memcached.operations{cache=a,operation=get,type=hit}";

#[test]
fn what_clients_do_is_in_the_samples() {
    let server = Server::start(&["-m", "64"]);
    let large = "x".repeat(2_000);
    server.run(&format!(
        "set a 0 0 3\r\nabc\r\nget a\r\nget a\r\nget b\r\nset c 0 0 2000\r\n{large}\r\nincr d 1\r\n"
    ));
    let mut observed = Observed::memcached(&[server.server()]);
    observed.read_until_state("a", "up");
    for (name, value) in [
        (HITS, 2),
        ("memcached.operations{cache=a,operation=get,type=miss}", 1),
        ("memcached.operations{cache=a,operation=increment,type=miss}", 1),
        ("memcached.commands{cache=a,command=set}", 2),
        ("memcached.current_items{cache=a}", 2),
        ("flyball.memcached.limit{cache=a}", 64 << 20),
        ("flyball.memcached.slab.items{cache=a,flyball.slab=1}", 1),
        ("flyball.memcached.slab.hits{cache=a,flyball.slab=1}", 2),
        ("flyball.memcached.slab.chunk.size{cache=a,flyball.slab=1}", 96),
    ] {
        assert_eq!(observed.raw(name), value, "{name}");
    }
    for positive in [
        "memcached.bytes{cache=a}",
        "memcached.network{cache=a,direction=sent}",
        "memcached.threads{cache=a}",
        "flyball.memcached.response_time{cache=a}",
        "flyball.memcached.started{cache=a}",
    ] {
        assert!(observed.raw(positive) > 0, "{positive}");
    }
    let info = observed.values.keys().filter(|name| name.starts_with("flyball.memcached.info"));
    let info: Vec<_> = info.collect();
    assert_eq!(info.len(), 1);
    assert!(info[0].contains("eviction_policy=segmented-lru,version=1."), "{info:?}");
    server.run("get a\r\n");
    observed.read();
    assert_eq!(observed.raw(HITS), 3);
}

#[test]
fn counters_that_are_set_to_zero_are_flagged_and_have_a_new_beginning() {
    let server = Server::start(&[]);
    server.run("set a 0 0 3\r\nabc\r\nget a\r\nget a\r\n");
    let mut observed = Observed::memcached(&[server.server()]);
    observed.read_until_state("a", "up");
    let started = observed.raw("flyball.memcached.started{cache=a}");
    // Its clock counts whole seconds, and begins two before its start.
    server.run("stats reset\r\nget a\r\n");
    observed.read();
    assert_eq!((observed.raw(HITS), observed.values[HITS].reset), (1, true));
    assert!(observed.raw("flyball.memcached.started{cache=a}") > started);
    assert!(!observed.values["flyball.memcached.uptime{cache=a}"].reset);
    observed.read();
    assert!(!observed.values[HITS].reset);
}

#[test]
fn one_that_goes_or_hangs_is_told_and_comes_back() {
    let mut server = Server::start(&[]);
    server.run("get a\r\n");
    let mut observed = Observed::memcached(&[server.server()]);
    observed.read_until_state("a", "up");
    server.signal(Signal::STOP);
    observed.read_until_state("a", "slow");
    assert_eq!(observed.get("memcached.bytes{cache=a}"), None);
    server.signal(Signal::CONT);
    observed.read_until_state("a", "up");
    server.kill();
    observed.read_until_state("a", "unreachable");
    server.restart();
    observed.read_until_state("a", "up");
    let misses = "memcached.operations{cache=a,operation=get,type=miss}";
    assert_eq!((observed.raw(misses), observed.values[misses].reset), (0, true));
}

#[test]
fn sockets_passwords_and_what_is_no_memcached() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("memcached.sock");
    let mut child = Command::new("memcached");
    child.args(["-u", "root", "-s"]).arg(&socket).stdin(Stdio::null());
    let mut child = child.spawn().unwrap();
    until("the socket", || socket.exists());
    let mut observed = Observed::memcached(&[at(socket.to_str().unwrap(), dir.path())]);
    observed.read_until_state("a", "up");
    child.kill().unwrap();
    child.wait().unwrap();

    let file = dir.path().join("users");
    std::fs::write(&file, "user:secret").unwrap();
    let file: &'static str = file.display().to_string().leak();
    let server = Server::start(&["-Y", file]);
    Observed::memcached(&[server.server()]).read_until_state("a", "denied");

    let redis = crate::harness::Server::start(&[]);
    let address = format!("127.0.0.1:{}", redis.port);
    let mut observed = Observed::memcached(&[at(&address, dir.path())]);
    observed.read_until_state("a", "unreachable");
}
