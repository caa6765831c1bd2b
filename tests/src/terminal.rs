//! A program in a terminal of its own: keys go in, and what it writes is drawn as a terminal would draw it.

use std::fs::File;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::wait;

/// A running program and its terminal. Dropping it kills the program.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keys: tokio::fs::File,
    // Held open, so that the terminal's modes can be read after the program has ended.
    tty: OwnedFd,
    screen: watch::Receiver<Screen>,
}

/// What the terminal shows.
#[derive(Debug, Default)]
struct Screen {
    text: String,
    alternate: bool,
}

impl Terminal {
    /// Starts `command` in a terminal of this size.
    ///
    /// # Errors
    /// When there are no more terminals, or the program cannot be started.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> Result<Self> {
        let not_zero = |n| NonZeroU16::new(n).context("a terminal has a size");
        let (columns, rows) = (not_zero(columns)?, not_zero(rows)?);
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("open a terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let tty: OwnedFd = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        let size =
            Winsize { ws_row: rows.get(), ws_col: columns.get(), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&tty, size)?;
        let end = || tty.try_clone().map(Stdio::from);
        command.stdin(end()?).stdout(end()?).stderr(end()?).kill_on_drop(true);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = command.spawn().context("start the program")?;
        let keys = File::from(master.try_clone()?);
        let (sender, screen) = watch::channel(Screen::default());
        tokio::spawn(draw(
            tokio::fs::File::from_std(File::from(master)),
            vt100::Parser::new(rows, columns, 0),
            sender,
        ));
        Ok(Self { child, keys: tokio::fs::File::from_std(keys), tty, screen })
    }

    /// Presses keys.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub async fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).await?;
        Ok(self.keys.flush().await?)
    }

    /// Waits until the screen shows `text`.
    ///
    /// # Errors
    /// When it does not soon.
    pub async fn wait_for(&self, text: &str) -> Result<()> {
        self.wait_until(&format!("{text:?}"), |screen| screen.contains(text)).await
    }

    /// Waits until `wanted` holds for what the screen shows.
    ///
    /// # Errors
    /// When it does not soon.
    pub async fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        wait::until(&format!("{what} on the screen"), wait::SOON, || async {
            let shown = self.screen.borrow().text.clone();
            ensure!(wanted(&shown), "shown:\n{shown}");
            Ok(())
        })
        .await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid as i32));
        Ok(kill_process(pid.context("the program is gone")?, signal)?)
    }

    /// Waits for the program's end and checks that it has given the terminal back: alternate screen left, lines and echo on.
    ///
    /// # Errors
    /// When it does not end within `limit`, or leaves the terminal as it should not.
    pub async fn wait_restored(mut self, limit: Duration) -> Result<ExitStatus> {
        let status = tokio::time::timeout(limit, self.child.wait()).await;
        let status = status.context("the program did not end")??;
        wait::until("the alternate screen to be left", wait::SOON, || async {
            ensure!(!self.screen.borrow().alternate, "still in it");
            Ok(())
        })
        .await?;
        let modes = tcgetattr(&self.tty)?.local_modes;
        if !modes.contains(LocalModes::ICANON | LocalModes::ECHO) {
            bail!("the terminal is still raw: {modes:?}");
        }
        Ok(status)
    }
}

async fn draw(
    mut master: tokio::fs::File,
    mut parser: vt100::Parser,
    shown: watch::Sender<Screen>,
) {
    let mut chunk = [0; 4096];
    // A terminal whose program has ended reads as an error.
    while let Ok(n @ 1..) = master.read(&mut chunk).await {
        parser.process(&chunk[..n]);
        let screen = parser.screen();
        shown
            .send_replace(Screen { text: screen.contents(), alternate: screen.alternate_screen() });
    }
}
