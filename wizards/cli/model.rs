//! `trademl model` and `trademl rerun`: what the registry holds, and how it came to be.

use super::complete;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `trademl model`.
#[derive(Args, Debug)]
pub struct ModelArgs {
    #[command(subcommand)]
    pub command: ModelCommand,
    /// Whose models
    #[arg(long, global = true, default_value = "equities_xs", add = complete::strategies())]
    pub strategy: String,
    /// The data root; also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum ModelCommand {
    /// Every registered model and its stage
    List {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Every decision about them: from, to, by whom, by which rule, why
    History {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Make the previous champion champion again
    Rollback {
        /// Why; it is recorded
        #[arg(long)]
        reason: String,
    },
    /// Whether a new challenger is due: the newest model's age, the growth of the data, drift, the champion's losses
    Due {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Copy what an MLflow server (MLFLOW_TRACKING_URI) has not heard yet: runs, versions, aliases
    Mirror {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

/// `trademl rerun`.
#[derive(Args, Debug, Clone)]
pub struct RerunArgs {
    /// A training run (`trademl runs list`) or a model's version (`trademl model list`)
    #[arg(add = complete::versions())]
    pub id: String,
    /// Whose model, where a version is named
    #[arg(long, default_value = "equities_xs", add = complete::strategies())]
    pub strategy: String,
    /// Threads; the outcome does not depend on them
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
    /// The data root; also TRADEML_ROOT
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}
