//! A file of /proc or /sys that stays open and is read whole with `pread` into a buffer that is kept: no path walk and no allocation in a tick.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::SampleError;

/// The kernel fills its own buffer by the page, so a smaller one of ours would only add system calls.
const FIRST_BUFFER_BYTES: usize = 4096;
/// Larger than any of these files on the largest hosts; a file without end is refused here.
const MAX_FILE_BYTES: usize = 4 << 20;

/// A file that is read again and again.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Source {
    /// Nothing is opened before the first read.
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, buffer: Vec::new() }
    }

    /// The whole file as it is now.
    ///
    /// # Errors
    /// [`SampleError::Unsupported`] when there is no such file or the kernel has the feature switched off, [`SampleError::Read`] for all else; the next call opens it again.
    pub(super) fn read(&mut self) -> Result<&[u8], SampleError> {
        match self.fill() {
            Ok(length) => Ok(&self.buffer[..length]),
            Err(error) => {
                self.file = None;
                Err(self.failure(error))
            }
        }
    }

    /// An error for content that is not understood.
    pub(super) fn garbled(&self, reason: &'static str) -> SampleError {
        SampleError::Parse { path: self.path.display().to_string(), reason }
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        if self.file.is_none() {
            self.file = Some(File::open(&self.path)?);
            self.buffer.resize(self.buffer.len().max(FIRST_BUFFER_BYTES), 0);
        }
        let file = self.file.as_ref().expect("opened above");
        let mut length = 0;
        loop {
            // Files of several records end a read at a record, so only a read of nothing is the end.
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if length == self.buffer.len() {
                if length >= MAX_FILE_BYTES {
                    return Err(ErrorKind::FileTooLarge.into());
                }
                self.buffer.resize(length * 2, 0);
            }
        }
    }

    fn failure(&self, source: std::io::Error) -> SampleError {
        let path = self.path.display().to_string();
        let switched_off = source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error());
        if source.kind() == ErrorKind::NotFound || switched_off {
            SampleError::Unsupported(path)
        } else {
            SampleError::Read { path, source }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole_and_again_after_it_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let text: Vec<u8> = (0..10_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        std::fs::write(&path, &text).unwrap();
        let mut source = Source::new(&path);
        assert_eq!(source.read().unwrap(), text);
        std::fs::write(&path, "short\n").unwrap();
        assert_eq!(source.read().unwrap(), b"short\n");
    }

    #[test]
    fn a_file_that_is_not_there_is_unsupported_until_it_comes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut source = Source::new(&path);
        assert!(matches!(source.read(), Err(SampleError::Unsupported(_))));
        std::fs::write(&path, "1").unwrap();
        assert_eq!(source.read().unwrap(), b"1");
    }

    #[test]
    fn a_directory_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut source = Source::new(directory.path());
        assert!(matches!(source.read(), Err(SampleError::Read { .. })));
    }
}
