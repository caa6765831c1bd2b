//! Real data planes as processes.
