//! `flyball-collector engine run`: the child process that is the engine. It loads the library and hands over to its command line.
//!
//! Only this process ever loads the library: it is large, installs signal handlers, and its failures must not be the collector's.

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use libloading::{Library, Symbol};

use crate::store::error::StoreError;

type CommandLine = unsafe extern "C" fn(argc: c_int, argv: *mut *mut c_char) -> *mut c_void;
type ResultError = unsafe extern "C" fn(result: *mut c_void) -> *const c_char;

/// Runs the engine in `library` with the arguments of `clickhouse local` until its input ends.
///
/// # Errors
/// When the library cannot be loaded or an argument holds a NUL byte.
pub fn run(library: &Path, arguments: Vec<OsString>) -> Result<(), StoreError> {
    let reason = |error: &dyn std::fmt::Display| StoreError::EngineStart {
        reason: format!("{}: {error}", library.display()),
    };
    let mut texts = vec![c"clickhouse".to_owned()];
    for argument in arguments {
        texts.push(CString::new(argument.into_vec()).map_err(|e| reason(&e))?);
    }
    match call(library, texts).map_err(|e| reason(&e))? {
        None => Ok(()),
        Some(error) => {
            // Without the stack trace, whose addresses mean nothing to anybody here.
            let line = error.lines().next().unwrap_or_default();
            Err(reason(&line.split(", Stack trace").next().unwrap_or_default()))
        }
    }
}

/// Gives what the engine says went wrong, if anything did.
#[expect(unsafe_code, reason = "loading a C library and calling its entry point")]
fn call(library: &Path, texts: Vec<CString>) -> Result<Option<String>, libloading::Error> {
    let argc = c_int::try_from(texts.len()).expect("an argument list fits an int");
    let mut argv: Vec<*mut c_char> = texts.into_iter().map(CString::into_raw).collect();
    argv.push(std::ptr::null_mut());
    // SAFETY: the library is the pinned engine, verified by its checksum when it was fetched; its initializers expect a fresh process,
    // which this is. Both functions have the declared types in that version. `argv` holds `argc` C strings of this process and a final null; they
    // are never freed, so the engine may keep them. The result and its text live as long as the process: nothing frees them.
    unsafe {
        let library = Library::new(library)?;
        let command_line: Symbol<'_, CommandLine> = library.get(b"chdb_query_cmdline\0")?;
        let result_error: Symbol<'_, ResultError> = library.get(b"chdb_result_error\0")?;
        let result = command_line(argc, argv.as_mut_ptr());
        let text = if result.is_null() { std::ptr::null() } else { result_error(result) };
        let error = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        // Unloading would run destructors under threads that are still there.
        std::mem::forget(library);
        Ok(error)
    }
}
