//! The time of the source that this program is made from: no clock that is right is before it. Not the time of day: the same
//! source gives the same binary.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let committed = || {
        let out = Command::new("git").args(["log", "-1", "--format=%ct", "HEAD"]).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_string()).filter(|s| !s.is_empty())
    };
    if let Some(seconds) = std::env::var("SOURCE_DATE_EPOCH").ok().or_else(committed) {
        println!("cargo:rustc-env=TRADEML_BUILT_AT={seconds}");
    }
}
