//! `trademl bench`: how fast the hot paths are on given inputs, one JSON line a measurement.
//!
//! Every topic runs the code that the product runs; what it computes, and on which files, is written down in
//! `docs/benchmarks.md`, so that a line can be set beside another program's. A topic is a function in [`TOPICS`].

mod curation;
mod data_node;
mod events;
mod features;
mod ingest;
mod inputs;
mod learning;
mod made;
mod measure;
mod pacing;
mod program;
mod registry;
mod statistics;
mod trading;

use crate::cli::BenchArgs;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::{DataRoot, FsFacts, FsProbe};
use inputs::Inputs;
use measure::{Clock, Line};
use std::path::PathBuf;

/// Size of the inputs: S is seconds, M minutes, L a Stage 1 drive (500 symbols, 15 years).
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "UPPER")]
pub enum Scale {
    S,
    M,
    L,
}

impl Scale {
    fn letter(self) -> &'static str {
        ["S", "M", "L"][self as usize]
    }
    /// A number that grows with the scale.
    fn pick<T: Copy>(self, small: T, medium: T, large: T) -> T {
        [small, medium, large][self as usize]
    }
}

/// Something that can be measured.
struct Topic {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Bench<'_>) -> Result<()>,
}

const TOPICS: &[Topic] = &[
    Topic { name: "audit", about: "expected against observed partitions: ledger, gap tasks, export; then again with nothing changed", run: data_node::audit },
    Topic { name: "backtest_daily", about: "a book of long and short tenths over fifteen years of days, through the one ledger", run: trading::daily },
    Topic { name: "backtest_minute", about: "the event engine on minute bars, with a record of every order and fill", run: events::minute },
    Topic { name: "cli_startup", about: "a fresh process that prints its help", run: program::startup },
    Topic { name: "cpcv_train", about: "28 purged splits of gradient-boosted trees over one binned table", run: learning::cpcv_train },
    Topic { name: "cscv_pbo", about: "probability of backtest overfitting, 16 blocks, 12,870 combinations", run: statistics::cscv_pbo },
    Topic { name: "curate", about: "adjust every bar; write the whole table durably; then one late split", run: curation::curate },
    Topic { name: "dsr", about: "deflated Sharpe ratio of every trial", run: statistics::dsr },
    Topic { name: "features_alpha158", about: "158 price and volume features of every symbol and session", run: features::alpha158 },
    Topic { name: "features_xs_v1", about: "the cross-sectional equity features of every symbol and session", run: features::equities_xs },
    Topic { name: "first_words", about: "a fresh wizard's first line and its first question, the machine looked at in between", run: program::first_words },
    Topic { name: "gbdt_infer", about: "scores of a boosted model for 5, 500 and 20,000 rows", run: learning::infer },
    Topic {
        name: "ingest",
        about: "a vendor's pages decoded and written, one file a page or one a date and symbol; not waited for, then durable",
        run: ingest::ingest,
    },
    Topic {
        name: "orders",
        about: "from the broker's answer to the next order's written intent: gates, journal, with and without a drive",
        run: trading::orders,
    },
    Topic {
        name: "pacing",
        about: "the share of each vendor's limit that a drain reaches at 300 ms an answer, alone and beside a slow vendor",
        run: pacing::pacing,
    },
    Topic { name: "queue", about: "seed the task queue; lease and complete, one by one and 64 at a time, durably", run: data_node::queue },
    Topic { name: "registry", about: "register and promote a model; resolve the champion", run: registry::registry },
    Topic { name: "screen", about: "a picture of a node for its live screen, and one frame of 200 x 60", run: program::screen },
    Topic { name: "triple_barrier", about: "one label per symbol and session", run: statistics::triple_barrier },
    Topic { name: "wizard_resume", about: "a fresh process that says where a drive stands", run: program::resume },
];

/// What a topic works with.
struct Bench<'a> {
    host: &'a Host,
    scale: Scale,
    inputs: Inputs,
    work: PathBuf,
    clock: Clock,
    lines: Vec<Line>,
}

impl Bench<'_> {
    /// An empty data root in the work folder, on the file system that is there.
    fn fresh_root(&self, name: &str) -> Result<DataRoot> {
        let place = self.work.join(name);
        if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        std::fs::create_dir_all(&place)?;
        let probe = FsProbe { wal: true, ..FsProbe::default() };
        DataRoot::create(self.host, &place, "bench@1", FsFacts { probe, ..FsFacts::default() }, None)
    }
}

/// Measure one topic, or list them all.
pub fn run(host: &Host, args: &BenchArgs) -> Result<u8> {
    let Some(wanted) = &args.topic else {
        TOPICS.iter().for_each(|t| super::say(&format!("{:<16} {}", t.name, t.about)));
        return Ok(0);
    };
    let topic = TOPICS.iter().find(|t| t.name == wanted).ok_or_else(|| {
        Error::new(code::USE_ARGUMENT, format!("there is no benchmark '{wanted}'"))
            .cause(format!("there are {}", TOPICS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")))
            .fix("trademl bench")
    })?;
    let work = args.work.as_ref().map_or_else(|| host.state_dir().join("bench"), |w| host.cwd().join(w)).join(host.pid().to_string());
    std::fs::create_dir_all(&work)?;
    let inputs = Inputs::at(&args.inputs.as_ref().map(|d| host.cwd().join(d)), args.scale);
    let mut bench = Bench { host, scale: args.scale, inputs, work: work.clone(), clock: Clock::new(args.scale), lines: Vec::new() };
    let result = (topic.run)(&mut bench);
    drop(std::fs::remove_dir_all(&work));
    result?;
    for line in &bench.lines {
        super::emit(&if args.json { line.json(args.scale).to_string() } else { line.text() });
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
