//! `trademl`: make the host, parse, run, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(trademl::run(std::env::args_os()))
}
