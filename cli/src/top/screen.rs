//! The terminal while the live view has it: raw, on its alternate screen, and given back on every way out (return, error, panic).

use std::io;

use ratatui::DefaultTerminal;
use ratatui::Frame;

/// The terminal; dropping it restores what was there before.
#[derive(Debug)]
pub(super) struct TerminalGuard {
    terminal: DefaultTerminal,
}

impl TerminalGuard {
    /// Takes the terminal. A panic hook restores it before the message is printed, so that the message can be read.
    ///
    /// # Errors
    /// When standard output or input is not a terminal that can be used.
    pub(super) fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                // Half of it may have been done.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    /// Draws one frame in the terminal's present size.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(render).map(|_| ())
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = ratatui::try_restore();
    }
}
