//! `trademl runs`: wizard runs on a drive.

use super::complete;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `trademl runs`.
#[derive(Args, Debug)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub command: RunsCommand,
    /// The data root; also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum RunsCommand {
    /// Every run on the drive, newest first
    List {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Every record of one run
    Show {
        /// The run's id, or its beginning
        #[arg(add = complete::runs())]
        id: String,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// An answers file that repeats a run, without secrets
    Export {
        /// The run's id, or its beginning
        #[arg(add = complete::runs())]
        id: String,
    },
    /// Mend a journal whose chain is broken: it is kept aside, and cut back to what follows
    Recover,
    /// Take back what a run wrote, where that is safe
    Undo {
        /// The run's id, or its beginning; the newest run that can be taken back by default
        #[arg(add = complete::runs())]
        id: Option<String>,
        /// Show what would be undone and change nothing
        #[arg(long)]
        dry_run: bool,
        /// The words that a refusal prints, where later runs stand on this one
        #[arg(long, value_name = "WORDS")]
        confirm: Option<String>,
    },
    /// Continue an open run
    Resume {
        /// The run's id, or its beginning
        #[arg(add = complete::runs())]
        id: String,
    },
}
