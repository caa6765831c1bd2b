//! The start of a program, the same in every binary: flags, then settings, and the exit code when one of them is wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use crate::EXIT_USAGE;
use crate::config::Problems;

/// The program's flags.
///
/// # Errors
/// The exit code, when usage is wrong or only help or the version was wanted; both are printed by then.
pub fn flags<T: Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        // A closed standard output or error leaves nobody to tell.
        let _ = error.print();
        if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS }
    })
}

/// The program's settings, when there is more to do than to check them.
///
/// # Errors
/// The exit code, when settings are wrong, which is printed by then, or when they are right and `check_only` asks for no more.
pub fn settings<T>(loaded: Result<T, Problems>, check_only: bool) -> Result<T, ExitCode> {
    match loaded {
        Ok(_) if check_only => Err(ExitCode::SUCCESS),
        Ok(settings) => Ok(settings),
        Err(problems) => {
            let _ = writeln!(std::io::stderr(), "{problems}");
            Err(EXIT_USAGE.into())
        }
    }
}
