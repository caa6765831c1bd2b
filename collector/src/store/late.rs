//! Who is told that what was stored before has changed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::LateMark;

type Tell = Box<dyn Fn(&[LateMark]) + Send + Sync>;

/// One listener, or none. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Listener(Arc<OnceLock<Tell>>);

impl Listener {
    pub(super) fn set(&self, listener: impl Fn(&[LateMark]) + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(listener));
    }

    pub(super) fn tell(&self, marks: &[LateMark]) {
        if let Some(tell) = self.0.get() {
            tell(marks);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
