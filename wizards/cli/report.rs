//! `trademl report`: the pages that the wizards wrote.

use super::complete;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `trademl report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    #[command(subcommand)]
    pub command: ReportCommand,
    /// The data root; also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum ReportCommand {
    /// Every page on the drive, the newest of each kind last
    List {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Show the newest page of a kind in the browser; without a display, say where it is
    Open {
        #[arg(value_enum, default_value = "evaluation")]
        kind: PageKind,
    },
    /// Two evaluations side by side: verdict, every number, every what-if
    Compare {
        /// A model's version (`trademl model list`)
        #[arg(add = complete::versions())]
        a: String,
        #[arg(add = complete::versions())]
        b: String,
        /// Whose models
        #[arg(long, default_value = "equities_xs", add = complete::strategies())]
        strategy: String,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

/// Kinds of pages, which are folders below `reports/`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    Evaluation,
    Daily,
    Weekly,
    Nightly,
    Coverage,
    /// What `node report` found in the data
    Data,
}

impl PageKind {
    /// Its folder below `reports/`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Evaluation => "evaluations",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Nightly => "nightly",
            Self::Coverage => "coverage",
            Self::Data => "data",
        }
    }

    /// The command that writes such a page.
    pub fn made_by(self) -> &'static str {
        match self {
            Self::Evaluation => "trademl evaluate",
            Self::Daily | Self::Weekly => "trademl paper-trade",
            Self::Nightly => "trademl nightly",
            Self::Coverage => "trademl coverage",
            Self::Data => "trademl node report",
        }
    }
}
