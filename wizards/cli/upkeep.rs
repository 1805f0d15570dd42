//! Arguments of the commands that look after a machine and a drive: config, service, doctor.

use super::complete;
use crate::commands::service::Unit;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `trademl config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
    /// The data root; also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Everything that is set, or one key
    Show {
        /// A variable, or a configuration's path such as edge.inflight
        #[arg(add = complete::variables())]
        key: Option<String>,
        /// Say which file and line, layer or variable decided
        #[arg(long)]
        origin: bool,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Change one variable of this machine's private file, or one key of its configuration; comments and order stay
    Set {
        /// NAME=VALUE, or edge.loops.forward_minutes=30; NAME alone reads the value from standard input (secrets, always)
        #[arg(value_name = "NAME=VALUE")]
        setting: String,
    },
    /// Remove a variable from this machine's private file
    Unset {
        /// The variable
        #[arg(add = complete::variables())]
        key: String,
    },
    /// Where this machine's private file is
    Path,
}

/// `trademl service`.
#[derive(Args, Debug)]
pub struct ServiceArgs {
    #[command(subcommand)]
    pub command: ServiceCommand,
    /// The data root; also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum ServiceCommand {
    /// Print a unit for this program and drive
    Show { unit: Unit },
    /// Write a unit for your user; nothing is started
    Install {
        unit: Unit,
        /// Show the difference and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove a unit that was written
    Remove { unit: Unit },
}

/// `trademl doctor`.
#[derive(Args, Debug, Clone)]
pub struct DoctorArgs {
    /// The data root; also TRADEML_ROOT
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
    /// Mend what can be mended without losing anything, then look again
    #[arg(long)]
    pub fix: bool,
    /// Read every byte and compare it with its digest, as fsck does
    #[arg(long)]
    pub deep: bool,
    /// Make no network call: keys and clock skew are not tried
    #[arg(long)]
    pub offline: bool,
}
