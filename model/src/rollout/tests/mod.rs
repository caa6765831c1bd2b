//! Tests of the machine. `world` drives it through its journal and checks every property after every
//! row.

mod control;
mod diagram;
mod examples;
mod hostile;
mod random;
mod rare;
mod reach;
mod refusals;
mod ways;
mod world;
