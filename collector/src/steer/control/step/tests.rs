//! Tests of one window.
