//! Harness that starts the real servers on free ports in temporary directories and stops them by pid.
