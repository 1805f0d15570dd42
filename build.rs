//! Facts about the build for `trademl --version`: source, compiler, target, profile. No time of day: the same source gives
//! the same binary.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::process::Command;

fn said(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_string()).filter(|s| !s.is_empty())
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=TRADEML_SOURCE");
    if let Some(head) = said("git", &["rev-parse", "--git-path", "HEAD"]) {
        println!("cargo:rerun-if-changed={head}");
    }
    let source = std::env::var("TRADEML_SOURCE").ok().or_else(|| said("git", &["rev-parse", "--short=12", "HEAD"])).unwrap_or_else(|| "unknown".into());
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let compiler = said(&rustc, &["--version"]).unwrap_or_else(|| "unknown".into());
    for (name, value) in [
        ("SOURCE", source),
        ("RUSTC", compiler),
        ("TARGET", std::env::var("TARGET").unwrap_or_default()),
        ("PROFILE", std::env::var("PROFILE").unwrap_or_default()),
    ] {
        println!("cargo:rustc-env=TRADEML_BUILD_{name}={value}");
    }
}
