//! The command line. One doc comment per command is its help.

pub mod complete;
#[cfg(feature = "research")]
mod model;
#[cfg(feature = "research")]
mod paper;
#[cfg(feature = "research")]
mod report;
pub mod rooted;
mod runs;
mod upkeep;

use crate::kit::Wizard;
use crate::kit::session::Flags;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[cfg(feature = "research")]
pub use model::{ModelArgs, ModelCommand, RerunArgs};
#[cfg(feature = "research")]
pub use paper::{PaperArgs, PaperCommand};
#[cfg(feature = "research")]
pub use report::{PageKind, ReportArgs, ReportCommand};
pub use runs::{RunsArgs, RunsCommand};
pub use upkeep::{ConfigArgs, ConfigCommand, DoctorArgs, ServiceArgs, ServiceCommand};

/// From a bare Raspberry Pi and an SSD to a governed paper-trading book, in six guided wizards.
///
/// Every wizard can be stopped at any instant and continued, here or on another machine, by the same command.
#[derive(Parser, Debug)]
#[command(name = "trademl", version, long_version = crate::commands::about::LONG, arg_required_else_help = true, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What `trademl` can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Set up this machine and the SSD as a data node, and fill it with market data
    PiDataNode(Flags),
    /// Train a model on GREEN data, under honest gates
    #[cfg(feature = "research")]
    Train(Flags),
    /// Judge challengers against the champion
    #[cfg(feature = "research")]
    Evaluate(Flags),
    /// Score champion and challengers day by day, sending nothing
    #[cfg(feature = "research")]
    Shadow(Flags),
    /// Open and run the paper book, behind confirmation gates
    #[cfg(feature = "research")]
    PaperTrade(PaperTradeArgs),
    /// Answer signal requests over HTTP
    #[cfg(feature = "research")]
    Serve(Flags),
    /// The whole journey on embedded real prices, without keys or network
    #[cfg(feature = "research")]
    Demo(DemoArgs),
    /// Wizard runs on a drive: list, show, export, resume
    Runs(RunsArgs),
    /// The outside world in a box: vendors and a broker on loopback
    Sandbox(SandboxArgs),
    /// Let time pass in the world of a practice drive
    Practice(PracticeArgs),
    /// The data node's work without its wizard
    Node(NodeArgs),
    /// A live screen of a drive: the node at work, or the paper book (q leaves, and stops nothing)
    Watch(WatchArgs),
    /// One screen about a drive: coverage, queue, budgets, what is ahead
    Status(StatusArgs),
    /// Pictures of completeness: a page, an SVG and a PNG below reports/coverage/
    Coverage(RootArgs),
    /// One screen of checks, each with the command that mends what is wrong
    Doctor(DoctorArgs),
    /// Prove a drive: every digest, the databases, the journal's chain
    Fsck(FsckArgs),
    /// Rebuild control/node.sqlite from the files, without a vendor call
    Rebuild(RootArgs),
    /// Bring a folder of nightly exports into a data root
    Import(ImportArgs),
    /// Make a drive safe to unplug
    Eject(RootArgs),
    /// The registry: models and their stages, every decision, and back to the previous champion
    #[cfg(feature = "research")]
    Model(ModelArgs),
    /// The pages that the wizards wrote: list them, open one, compare two evaluations
    #[cfg(feature = "research")]
    Report(ReportArgs),
    /// Make a trained model again from its snapshot, configuration and seed, and compare every byte
    #[cfg(feature = "research")]
    Rerun(RerunArgs),
    /// The paper book's switches: stop, status, reset, release, standing consent
    #[cfg(feature = "research")]
    Paper(PaperArgs),
    /// The workstation's night: refresh, train, evaluate, shadow, paper, parity, notify
    #[cfg(feature = "research")]
    Nightly(NightlyArgs),
    /// Measure the hot paths; without a topic, list them
    #[cfg(feature = "research")]
    Bench(BenchArgs),
    /// Prove the gates: many searches in a market without an edge, one in a market with a planted one
    #[cfg(feature = "research")]
    Study(StudyArgs),
    /// Settings of this machine, and where each comes from
    Config(ConfigArgs),
    /// systemd units of the node and of the signal service
    Service(ServiceArgs),
    /// Completions for a shell, on standard output
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Manual pages (roff), one file per command
    Man {
        /// Where to put them
        folder: PathBuf,
    },
    /// What an error code means and what to do about it; without a code, all of them
    Explain {
        /// A code such as TML-SSD-003
        #[arg(add = complete::codes())]
        code: Option<String>,
    },
    /// Every text that people read, in the shape of a translation (docs/translating.md)
    Text,
    /// Names of the points at which TRADEML_FAILPOINT can stop the process
    Failpoints,
    /// Write the generated pages under docs/
    #[command(hide = true)]
    Docs {
        /// The repository's docs folder
        folder: PathBuf,
    },
}

impl Command {
    /// The wizard that this command starts, with its switches.
    pub fn wizard(&self) -> Option<(&'static Wizard, &Flags)> {
        match self {
            Self::PiDataNode(flags) => Some((&crate::pi_data_node::WIZARD, flags)),
            #[cfg(feature = "research")]
            Self::Train(flags) => Some((&crate::train::WIZARD, flags)),
            #[cfg(feature = "research")]
            Self::Evaluate(flags) => Some((&crate::evaluate::WIZARD, flags)),
            #[cfg(feature = "research")]
            Self::Shadow(flags) => Some((&crate::shadow::WIZARD, flags)),
            #[cfg(feature = "research")]
            Self::PaperTrade(args) => Some((&crate::paper_trade::WIZARD, &args.flags)),
            #[cfg(feature = "research")]
            Self::Serve(flags) => Some((&crate::serve::WIZARD, flags)),
            _ => None,
        }
    }
}

/// `trademl status`.
#[derive(Args, Debug, Clone)]
pub struct StatusArgs {
    #[command(flatten)]
    pub root: RootArgs,
    /// What is there, without what is ahead: the same time on a drive of any size
    #[arg(long)]
    pub brief: bool,
}

/// A command on one data root.
#[derive(Args, Debug, Clone)]
pub struct RootArgs {
    /// The data root; also TRADEML_ROOT
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

/// `trademl demo`.
#[derive(Args, Debug, Clone)]
pub struct DemoArgs {
    /// Where the demonstration drive is (created; continued when it is there)
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Events as JSON lines on standard output
    #[arg(long)]
    pub json: bool,
    /// One plain line an event
    #[arg(long)]
    pub plain: bool,
    /// Live forward only this many sessions
    #[arg(long, value_name = "N")]
    pub sessions: Option<usize>,
}

/// `trademl nightly`.
#[cfg(feature = "research")]
#[derive(Args, Debug, Clone)]
pub struct NightlyArgs {
    /// The data root; also TRADEML_ROOT
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Answers for the wizards (docs/answers.md)
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// This task of the night alone; may be given several times
    #[arg(long, value_name = "TASK")]
    pub only: Vec<String>,
    /// Write the night for another scheduler instead: airflow or prefect
    #[arg(long, value_name = "SCHEDULER")]
    pub emit: Option<String>,
}

/// `trademl paper-trade`.
#[cfg(feature = "research")]
#[derive(Args, Debug, Clone)]
pub struct PaperTradeArgs {
    #[command(flatten)]
    pub flags: Flags,
    /// The whole evening without a person, under a standing consent: fetch, score, plan, send, reconcile, report, notify. Without a consent the
    /// book is settled and reported, and nothing is sent
    #[arg(long, conflicts_with_all = ["sets", "confirms", "dry_run", "offline", "take_over", "json"])]
    pub once: bool,
}

/// `trademl bench`.
#[cfg(feature = "research")]
#[derive(Args, Debug, Clone)]
pub struct BenchArgs {
    /// What to measure
    pub topic: Option<String>,
    /// Size of the inputs
    #[arg(long, value_enum, ignore_case = true, default_value = "S")]
    pub scale: crate::commands::bench::Scale,
    /// The folder of inputs, or of one folder of inputs per scale; without it they are made, from a fixed seed
    #[arg(long, value_name = "DIR")]
    pub inputs: Option<PathBuf>,
    /// Where databases and files are written and removed again: the drive that is measured
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// One JSON line a measurement
    #[arg(long)]
    pub json: bool,
}

/// `trademl study`.
#[cfg(feature = "research")]
#[derive(Args, Debug, Clone)]
pub struct StudyArgs {
    /// Searches in the market without an edge
    #[arg(long, default_value_t = 60)]
    pub searches: usize,
    /// Ridge configurations that each search tries
    #[arg(long, default_value_t = 1_000)]
    pub configurations: usize,
    /// LightGBM configurations of one more search without an edge; 0 = none
    #[arg(long, default_value_t = 60)]
    pub trees: usize,
    /// Markets with the planted edge; the first one's model is followed to its promotion
    #[arg(long, default_value_t = 5)]
    pub planted: usize,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The whole outcome as one JSON line
    #[arg(long)]
    pub json: bool,
}

/// `trademl sandbox`.
#[derive(Args, Debug, Clone)]
pub struct SandboxArgs {
    /// Which world: replay (real prices)
    #[arg(long, default_value = "replay")]
    pub world: String,
    /// Serve this folder of Parquet instead of the embedded prices
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A plan of faults to inject
    #[arg(long, value_name = "FILE")]
    pub faults: Option<PathBuf>,
    /// Where the broker's book and the clock are kept
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Port on loopback; 0 = any
    #[arg(long, default_value_t = 0)]
    pub port: u16,
}

/// `trademl practice`.
#[derive(Args, Debug)]
pub struct PracticeArgs {
    /// Up to which moment
    #[arg(value_enum, default_value = "close")]
    pub to: Moment,
    /// So many times
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub sessions: u32,
    /// The data root; also TRADEML_ROOT
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The next opening: orders that wait for it are filled
    Open,
    /// The evening after the next close: the session's prices can be asked for
    Close,
}

/// `trademl node`.
#[derive(Args, Debug)]
pub struct NodeArgs {
    #[command(subcommand)]
    pub command: NodeCommand,
    /// The data root; also TRADEML_ROOT
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum NodeCommand {
    /// Run until stopped: forward ingest, plan, work, maintenance
    Run,
    /// Drain what is due, audit, curate, then end
    Once,
    /// Read what is stored and judge it again; ask again for what is missing
    Audit {
        /// Read every byte, not only what is new
        #[arg(long)]
        full: bool,
    },
    /// Ask for one dataset beyond the stage's own: filings, a curve, series, minutes of some names
    Fetch {
        /// Which: equities_eod, equities_minute, corp_actions, macros_fred, fundamentals, treasury, delistings, ...
        dataset: String,
        /// Symbols, series or company numbers, separated by commas; none for a whole market
        #[arg(long, value_delimiter = ',')]
        symbols: Vec<String>,
        /// First day
        #[arg(long)]
        from: String,
        /// Last day
        #[arg(long)]
        to: String,
    },
    /// What the data is like: counts, every anomaly with its explanation, and checks of what was known when
    Report {
        /// JSON on standard output in place of Markdown
        #[arg(long)]
        json: bool,
    },
    /// The same as `trademl watch`, where it is looked for
    #[command(hide = true)]
    Watch,
}

/// `trademl watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// Which screen
    #[arg(value_enum, default_value = "node")]
    pub what: Watched,
    /// The data root; also TRADEML_ROOT
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Coverage, queue, budgets, loops, the log's end
    Node,
    /// A training run: its splits and what they score
    #[cfg(feature = "research")]
    Train,
    /// Equity, positions, orders and their states, switches
    #[cfg(feature = "research")]
    Paper,
}

/// `trademl fsck`.
#[derive(Args, Debug)]
pub struct FsckArgs {
    /// The data root; without it TRADEML_ROOT, or the drive that this machine used the last time
    pub dir: Option<PathBuf>,
    /// The same, as every other command takes it
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    pub root: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long)]
    pub json: bool,
}

/// `trademl import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// A folder of exports (exports/nightly/YYYY-MM-DD)
    pub dir: PathBuf,
    /// The data root; also TRADEML_ROOT
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}
