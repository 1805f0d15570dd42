//! The product: six guided wizards over shared engine modules.

#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::too_many_lines))]
//!
//! Start with [`pi_data_node`] or [`train`]: each file is a runbook and reads from top to bottom.

#[macro_use]
extern crate text_macro;

pub mod dashboard;
pub mod cli;
pub mod commands;
pub mod kit;
pub mod pi_data_node;
pub mod steps;

#[cfg(feature = "research")]
pub mod evaluate;
#[cfg(feature = "research")]
pub mod paper_trade;
#[cfg(feature = "research")]
pub mod serve;
#[cfg(feature = "research")]
pub mod shadow;
#[cfg(feature = "research")]
pub mod train;

use clap::Parser;
use std::ffi::OsString;

/// Every wizard of this build.
pub fn wizards() -> Vec<&'static kit::Wizard> {
    #[cfg(feature = "research")]
    return vec![&pi_data_node::WIZARD, &train::WIZARD, &evaluate::WIZARD, &shadow::WIZARD, &paper_trade::WIZARD, &serve::WIZARD];
    #[cfg(not(feature = "research"))]
    vec![&pi_data_node::WIZARD]
}

/// Parse the command line, do it, and return the exit status (`docs/exit-codes.md`).
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    if cli::complete::answered(&args) {
        return 0;
    }
    if args.len() < 2 {
        return commands::about::welcome();
    }
    let named = cli::rooted::named(&args);
    match cli::Cli::try_parse_from(args) {
        Ok(cli) => commands::dispatch(cli.command, named.as_deref()),
        Err(error) => {
            drop(error.print());
            if error.use_stderr() { 2 } else { 0 }
        }
    }
}

/// The command that continues a wizard on a drive.
fn cli_for(wizard: &str, root: &str) -> data_layer::error::Result<cli::Command> {
    cli::Cli::try_parse_from(["trademl", wizard, "--root", root])
        .map(|cli| cli.command)
        .map_err(|e| data_layer::error::Error::new(data_layer::error::code::USE_NO_RUN, text!("this build has no wizard '{wizard}'")).cause(e.to_string()))
}
