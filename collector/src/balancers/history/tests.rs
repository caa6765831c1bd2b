//! Rows in columns.
