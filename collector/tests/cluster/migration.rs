//! A collector that is killed in the midst of the first migration is in nobody's way for long.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;

use crate::harness::{Collector, DEADLINE, single};
use crate::server::Server;

/// Passes everything on until a client sends `needle`; that connection hangs from then on.
struct Trap {
    address: SocketAddr,
    sprung: watch::Receiver<bool>,
}

impl Trap {
    async fn start(upstream: String, needle: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (spring, sprung) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&upstream).await.unwrap();
                tokio::spawn(pass(client, server, needle, spring.clone()));
            }
        });
        Self { address, sprung }
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    needle: &'static str,
    spring: watch::Sender<bool>,
) {
    let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(count @ 1..) = read else { return };
                if String::from_utf8_lossy(&request[..count]).contains(needle) {
                    spring.send_replace(true);
                    std::future::pending::<()>().await;
                }
                server.write_all(&request[..count]).await.unwrap();
            }
            read = server.read(&mut answer) => {
                let Ok(count @ 1..) = read else { return };
                client.write_all(&answer[..count]).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn after_a_kill_in_the_midst_of_the_first_migration_the_next_start_waits_for_the_lease_only()
{
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::new(dir.path(), "a");
    server.start(&[server.tcp]).await;
    let upstream = format!("127.0.0.1:{}", server.http);
    let needle = "CREATE TABLE IF NOT EXISTS flyball.cache_stats";
    let mut trap = Trap::start(upstream, needle).await;
    let settings = single(server.http);
    let mut killed = Command::new(env!("CARGO_BIN_EXE_flyball-collector"))
        .args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path().join("killed"))
        .args(["--clickhouse", &format!("http://{}", trap.address)])
        .env("FLYBALL_CLICKHOUSE_USER", &settings.user)
        .env("FLYBALL_CLICKHOUSE_PASSWORD", settings.password.expose())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let sprung = trap.sprung.wait_for(|sprung| *sprung);
    tokio::time::timeout(DEADLINE, sprung).await.unwrap().unwrap();
    killed.kill().await.unwrap();
    let lock = "SELECT count() FROM system.tables WHERE name = 'migration_lock_1'";
    assert_eq!(server.value::<u64>(lock).await, 1, "it holds the lock for ever");
    let series = "SELECT count() FROM system.tables WHERE name IN ('series', 'cache_stats')";
    assert_eq!(server.value::<u64>(series).await, 1, "it was half way");

    let next = Collector::start(&settings).await;
    next.until_ready().await;
    let locks = "SELECT count() FROM system.tables WHERE name LIKE 'migration_lock%'";
    assert_eq!(server.value::<u64>(locks).await, 0);
    next.stopped().await;
}
