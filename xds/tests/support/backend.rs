//! Backends of the data planes under test.
