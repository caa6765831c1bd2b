//! A real HAProxy with backends that count and do as they are told.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::free_port;

/// Longest that anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Answers every request as it is told, and counts them. It serves until the process ends.
#[derive(Clone)]
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    requests: AtomicU64,
    /// Status of the answers; 0: none comes until that changes.
    status: Mutex<u16>,
    changed: Condvar,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            requests: AtomicU64::new(0),
            status: Mutex::new(200),
            changed: Condvar::new(),
        };
        let shared = Arc::new(shared);
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&own);
                std::thread::spawn(move || serve(connection, &shared));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn answer(&self, status: u16) {
        *self.shared.status.lock() = status;
        self.shared.changed.notify_all();
    }
}

fn serve(mut connection: TcpStream, shared: &Shared) {
    if read_head(&mut connection).is_none() {
        return;
    }
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let mut status = shared.status.lock();
    while *status == 0 {
        shared.changed.wait(&mut status);
    }
    let head = format!("HTTP/1.0 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    drop(status);
    let _ = connection.write_all(head.as_bytes());
}

/// Reads until the end of the headers.
fn read_head(connection: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match connection.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(count) => head.extend_from_slice(&part[..count]),
        }
    }
    Some(())
}

/// The status of one request over a connection of its own.
pub(crate) fn get(port: u16) -> Result<u16, String> {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(DEADLINE))?;
        connection.write_all(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or(answer)
}

/// It ends with the value.
pub(crate) struct Haproxy {
    /// Of the frontend of each group, in order.
    pub(crate) ports: Vec<u16>,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

/// A group for the configuration: its lines after `backend NAME`.
pub(crate) struct Group<'a>(pub(crate) &'a str, pub(crate) String);

/// Lines of a group with these servers, called `s0`, `s1` and so on.
pub(crate) fn group<'a>(name: &'a str, balance: &str, servers: &[(&Backend, &str)]) -> Group<'a> {
    let line = |(index, (backend, more)): (usize, &(&Backend, &str))| {
        format!("  server s{index} {} {more}\n", backend.address)
    };
    let servers: String = servers.iter().enumerate().map(line).collect();
    Group(name, format!("  balance {balance}\n{servers}"))
}

impl Haproxy {
    pub(crate) fn start(groups: &[Group<'_>]) -> Self {
        let ports = groups.iter().map(|_| free_port()).collect();
        let mut haproxy = Self { ports, dir: tempfile::tempdir().unwrap(), child: None };
        haproxy.configure(groups);
        haproxy.run();
        haproxy
    }

    /// Writes the configuration that the next start or reload reads.
    pub(crate) fn configure(&self, groups: &[Group<'_>]) {
        let dir = self.dir.path().display();
        let mut text = format!(
            "global\n  stats socket {dir}/admin mode 600 level admin expose-fd listeners\n\
             \x20 stats socket {dir}/operator mode 600 level operator\n\
             \x20 stats socket {dir}/user mode 600 level user\n  stats timeout 1h\n  hard-stop-after 20s\n\
             defaults\n  mode http\n  retries 0\n  timeout connect 2s\n  timeout client 30s\n\
             \x20 timeout queue 30s\n  timeout server 30s\n"
        );
        for (Group(name, lines), port) in groups.iter().zip(&self.ports) {
            write!(
                text,
                "frontend in-{name}\n  bind 127.0.0.1:{port}\n  default_backend {name}\nbackend {name}\n{lines}"
            )
            .unwrap();
        }
        std::fs::write(self.dir.path().join("haproxy.cfg"), text).unwrap();
    }

    /// Starts it, or starts it again.
    pub(crate) fn run(&mut self) {
        assert!(self.child.is_none(), "one at a time");
        let mut command = Command::new("haproxy");
        command.args(["-W", "-f"]).arg(self.dir.path().join("haproxy.cfg"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let began = Instant::now();
        while self.try_ask("show info").is_none() {
            assert!(began.elapsed() < DEADLINE, "haproxy does not come up");
            std::thread::yield_now();
        }
    }

    /// The main process.
    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap())
    }

    /// Whether the main process catches `USR2` and does not block it.
    fn takes_signals(&self) -> bool {
        let pid = self.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let has = |field: &str| {
            let mask = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 11) != 0
        };
        has("SigCgt:") && !has("SigBlk:")
    }

    /// Ends it at once; its socket is no longer listened to.
    pub(crate) fn stop(&mut self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
        self.child.take().unwrap().wait().unwrap();
    }

    /// Loads its configuration into a new worker. The number of that.
    pub(crate) fn reload(&self) -> u32 {
        let before = self.worker();
        let began = Instant::now();
        // A main process that is still starting loses the signal, though its worker answers already.
        while !self.takes_signals() {
            assert!(began.elapsed() < DEADLINE, "haproxy does not take signals");
            std::thread::yield_now();
        }
        kill_process(self.pid(), Signal::USR2).unwrap();
        loop {
            assert!(began.elapsed() < DEADLINE, "haproxy is not loaded anew");
            match self.worker() {
                now if now != before && now != 0 => return now,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// The number of the process that serves now; 0: it cannot be asked just now.
    pub(crate) fn worker(&self) -> u32 {
        let info = self.try_ask("show info").unwrap_or_default();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid: "));
        pid.and_then(|pid| pid.parse().ok()).unwrap_or(0)
    }

    /// Lets the worker answer nothing, or again.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        let pid = Pid::from_raw(self.worker_frozen().cast_signed()).unwrap();
        kill_process(pid, if is_frozen { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    /// The worker, found without asking it.
    fn worker_frozen(&self) -> u32 {
        let main = self.pid().as_raw_nonzero();
        let children = format!("/proc/{main}/task/{main}/children");
        let children = std::fs::read_to_string(children).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it answers to anybody.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.try_ask(command).unwrap()
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let path = self.socket("admin");
        let mut stream = std::os::unix::net::UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    }

    /// The weight in force.
    pub(crate) fn weight(&self, server: &str) -> u32 {
        let answer = self.try_ask(&format!("get weight {server}")).unwrap_or_default();
        answer.split(' ').next().and_then(|weight| weight.trim().parse().ok()).unwrap_or(0)
    }

    /// Settings of an agent that knows it as `edge`.
    pub(crate) fn settings(&self, socket: &str, more: &str) -> String {
        let socket = self.socket(socket);
        format!("[[haproxy]]\nname = 'edge'\nsocket = '{}'\n{more}\n", socket.display())
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A worker that is stopped ends with its master only when it goes on.
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let _ = child.wait();
        }
    }
}
