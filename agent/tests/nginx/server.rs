//! A real nginx with backends that count.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Answers every request, and counts them. It serves until the process ends.
pub(crate) struct Backend {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&requests);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || serve(connection, &count));
            }
        });
        Self { address, requests }
    }

    /// As nginx names it.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut connection: TcpStream, count: &AtomicU64) {
    if read_head(&mut connection).is_some() {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = connection
            .write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
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

/// One request over a connection of its own.
pub(crate) fn get(port: u16) -> Result<(), String> {
    let ask = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(DEADLINE))?;
        connection.write_all(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok") => Ok(()),
        Ok(answer) => Err(answer),
        Err(error) => Err(error.to_string()),
    }
}

/// It ends with the value.
pub(crate) struct Nginx {
    pub(crate) port: u16,
    dir: tempfile::TempDir,
    child: Child,
}

impl Nginx {
    pub(crate) fn start(backends: &[Backend; 2]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = crate::harness::free_port();
        let path = |name: &str| dir.path().join(name);
        let lines = backends.iter().map(|backend| format!("server {};\n", backend.name()));
        std::fs::write(path("web.conf"), lines.collect::<String>()).unwrap();
        std::fs::write(path("end.conf"), "").unwrap();
        std::fs::write(path("nginx.conf"), configuration(dir.path(), port)).unwrap();
        let child = Command::new("nginx")
            .arg("-c")
            .arg(path("nginx.conf"))
            .args(["-g", "daemon off;"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Self { port, dir, child };
        let began = Instant::now();
        while get(port).is_err() {
            assert!(began.elapsed() < DEADLINE, "nginx does not come up");
            std::thread::yield_now();
        }
        nginx
    }

    /// Settings of an agent that may steer it as `edge`.
    pub(crate) fn settings(&self, least_seconds: u32) -> String {
        let dir = self.dir.path().display();
        format!(
            "[[nginx]]\nname = 'edge'\nsteer = true\nleast_seconds = {least_seconds}\n\
             pid_file = '{dir}/nginx.pid'\n\
             test = ['nginx', '-t', '-q', '-c', '{dir}/nginx.conf']\n\
             reload = ['nginx', '-s', 'reload', '-c', '{dir}/nginx.conf']\n\
             upstreams = [{{ name = 'web', file = '{dir}/web.conf' }}]\n"
        )
    }

    /// What Flyball may write.
    pub(crate) fn file(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("web.conf")).unwrap()
    }

    /// Processes that belong to it.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let main = self.child.id();
        let children = format!("/proc/{main}/task/{main}/children");
        let children = std::fs::read_to_string(children).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Settings of an agent that has it loaded by a script, and tests nothing; what the script does is to be said.
    pub(crate) fn settings_by_script(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "[[nginx]]\nname = 'edge'\nsteer = true\nleast_seconds = 1\npid_file = '{dir}/nginx.pid'\n\
             test = ['true']\nreload = ['/bin/sh', '{dir}/reload.sh']\n\
             upstreams = [{{ name = 'web', file = '{dir}/web.conf' }}]\n"
        )
    }

    /// What the script does from now on; nothing: it has nginx load its configuration.
    pub(crate) fn script(&self, line: Option<&str>) {
        let dir = self.dir.path().display();
        let reload = format!("kill -HUP $(cat {dir}/nginx.pid)");
        std::fs::write(self.dir.path().join("reload.sh"), line.unwrap_or(&reload)).unwrap();
    }

    /// From now on whoever loads the configuration waits at its end, where the servers have been read, until [`Self::go_on`].
    pub(crate) fn hold_on(&self) {
        let (path, new) = (self.dir.path().join("end.conf"), self.dir.path().join("end.new"));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &new, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Lets the one that waits go on, and who comes later pass.
    pub(crate) fn go_on(&self) {
        let (path, held) = (self.dir.path().join("end.conf"), self.dir.path().join("end.held"));
        std::fs::rename(&path, &held).unwrap();
        std::fs::write(path, "").unwrap();
        drop(std::fs::File::options().write(true).open(held).unwrap());
    }

    /// Nothing that is written passes nginx's test any more.
    pub(crate) fn break_configuration(&self) {
        let path = self.dir.path().join("nginx.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{text}\nnonsense on;\n")).unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.child.wait();
    }
}

fn configuration(dir: &std::path::Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "pid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nworker_processes 1;\nevents {{}}\n\
         http {{\n  access_log off;\n  client_body_temp_path {dir}/body;\n  proxy_temp_path {dir}/proxy;\n\
         \x20 fastcgi_temp_path {dir}/fastcgi;\n  uwsgi_temp_path {dir}/uwsgi;\n  scgi_temp_path {dir}/scgi;\n\
         \x20 upstream web {{ include {dir}/web.conf; }}\n\
         \x20 server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://web; }} }}\n}}\n\
         include {dir}/end.conf;\n"
    )
}
