//! Has a release build notice when the dashboard that it embeds was built or changed. A debug build reads the dashboard from the disk while it runs.

use std::path::Path;

const DIST: &str = "../dashboard/dist";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo:rerun-if-changed={DIST}");
        if !Path::new(DIST).join("index.html").exists() {
            println!(
                "cargo:warning=dashboard/dist is missing: this collector will have no dashboard (run `make`)"
            );
        }
    }
}
