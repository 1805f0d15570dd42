//! A training run as its live screen shows it, read from the journal and the checkpoints.

use crate::dashboard::{ConfigurationRow, TrainSnapshot};
use crate::kit::journal::{Event, Journal, Record};
use crate::kit::step::split_lap;
use crate::steps::screens;
use crate::train::WIZARD;
use data_layer::attach;
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::time::UtcTime;
use engine::pipelines::splits;
use engine::pipelines::train::Pinned;

/// The newest training run of a drive.
pub struct Screen<'a> {
    host: &'a Host,
    root: &'a DataRoot,
    journal: Journal,
}

impl<'a> Screen<'a> {
    /// Refused where nothing was ever trained.
    pub fn open(host: &'a Host, root: &'a DataRoot) -> Result<Self> {
        let screen = Self { host, root, journal: Journal::open(root)? };
        screen.newest()?;
        Ok(screen)
    }

    /// The records of the newest run.
    fn newest(&self) -> Result<Vec<Record>> {
        let runs = self.journal.runs()?;
        let (first, _) = runs
            .iter()
            .filter(|(first, _)| first.wizard == WIZARD.name)
            .max_by_key(|(first, _)| first.seq)
            .ok_or_else(|| Error::new(code::DATA_MISSING, "no model was ever trained on this drive: there is no run to watch").fix("trademl train"))?;
        self.journal.records(&first.run_id)
    }

    /// The run now.
    pub fn picture(&self) -> Result<TrainSnapshot> {
        let (records, now) = (self.newest()?, self.host.now());
        let snapshot = done(&records, "snapshot");
        let pinned: Option<Pinned> = snapshot.and_then(|r| serde_json::from_str(&r.payload_json).ok());
        let so_far = pinned.as_ref().map(|p| splits::so_far(self.root, p)).transpose()?.unwrap_or_default();
        // Of a run that is over, the scores are gone and the seals are kept: they tell what each split showed.
        let finished = done(&records, "cross-validate").zip(snapshot).is_some_and(|(through, pinned)| through.seq > pinned.seq);
        let row = |(cell, rank_ic): (engine::pipelines::config::Cell, Vec<splits::Standing>)| ConfigurationRow {
            name: text!("{} leaves {} x {}", cell.params.num_leaves, cell.params.learning_rate, cell.params.rounds),
            rank_ic,
        };
        let configurations: Vec<ConfigurationRow> = so_far.into_iter().map(row).collect();
        let total = configurations.iter().map(|c| c.rank_ic.len() as u64).sum();
        let fitted = configurations.iter().flat_map(|c| &c.rank_ic).flatten().count() as u64;
        Ok(TrainSnapshot {
            dataset: self.root.drive().dataset.clone(),
            now: Some(now),
            run: pinned.map_or_else(|| "(nothing pinned yet)".into(), |p| text!("{} {}", p.strategy, p.version)),
            state: self.state(&records)?,
            done: if finished { total } else { fitted },
            total,
            // A world's clock stands still while work is done: its journal tells no pace.
            eta_seconds: remaining(&records, now, fitted, total).filter(|_| !finished && !self.root.is_world()),
            configurations,
            events: screens::newest_events(self.root),
        })
    }

    fn state(&self, records: &[Record]) -> Result<String> {
        let at_work = attach::is_locked(self.root, &format!("wizard-{}", WIZARD.name))?;
        let last = records.iter().rev().find(|r| !r.step.is_empty());
        let step = last
            .and_then(|r| WIZARD.steps.iter().find(|s| s.id == split_lap(&r.step).0))
            .map_or(String::new(), |s| text!("step {} of {}, {}: ", WIZARD.position(s.id), WIZARD.steps.len(), s.title));
        let closed = records.last().is_some_and(|r| r.kind == Event::Closed);
        let word = match (closed, at_work, last.map(|r| r.kind)) {
            (true, ..) => return Ok("the run is over".into()),
            (false, true, Some(Event::Started)) => "at work",
            (false, true, _) => "done, the next step follows",
            (false, false, _) => "nobody is at work; `trademl train` continues it",
        };
        Ok(format!("{step}{word}"))
    }
}

/// The newest record that a step was done, in any lap.
fn done<'r>(records: &'r [Record], step: &str) -> Option<&'r Record> {
    records.iter().rev().find(|r| split_lap(&r.step).0 == step && r.kind == Event::Done)
}

/// At the pace of this pass of cross-validation so far.
fn remaining(records: &[Record], now: UtcTime, fitted: u64, total: u64) -> Option<f64> {
    let began = records.iter().rev().find(|r| split_lap(&r.step).0 == "cross-validate" && r.kind == Event::Started)?;
    let seconds = now.seconds_since(UtcTime::parse(&began.at).ok()?);
    (fitted > 0 && fitted < total && seconds > 0.0).then(|| seconds / fitted as f64 * (total - fitted) as f64)
}
