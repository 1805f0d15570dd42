//! What the live screens show, read from a drive. They only read: closing one stops nothing.

use crate::dashboard::{self, Leave};
use crate::dashboard::{CoverageRow, EventRow, HeatRow, LoopRow, NodeSnapshot, QueueRow, Severity, Snapshot, VendorRow};
use crate::kit::Act;
use crate::kit::report::Voice;
use data_layer::budget::{self, Standing};
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result};
use data_layer::forecast::{self, Forecast};
use data_layer::host::Host;
use data_layer::node::{self, LoopBeat};
use data_layer::root::DataRoot;
use data_layer::schema::{table, timeframe};
use data_layer::sourcing::{BackfillConfig, EdgeConfig, Endpoints, Vendor};
use data_layer::time::UtcTime;
use data_layer::{attach, detect, ledger, queue, stage};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines of the log on a screen, and how much of its end is read for them.
const EVENTS: usize = 60;
const TAIL_BYTES: u64 = 32 * 1024;

/// Do `work` with the node's screen in front of it. Leaving the screen leaves the work running, with its progress shown as
/// usual; when the work ends, the screen closes. Without a terminal there is no screen.
pub fn beside_work<T: Send>(act: &Act<'_>, work: impl FnOnce(&Act<'_>) -> Result<T> + Send) -> Result<T> {
    if act.report.voice() != Voice::Rich || !dashboard::possible() {
        act.note("no screen here; the progress is shown as lines (`trademl watch node` opens the screen in a terminal)");
        return work(act);
    }
    let db = Db::open(act.root, Which::Node)?;
    let mut screen = NodeScreen::new(act.host, act.root, &db);
    let over = AtomicBool::new(false);
    act.report.hush(true);
    let done = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let done = work(act);
            over.store(true, Ordering::SeqCst);
            done
        });
        let left = dashboard::run(act.host, || Snapshot::Node(screen.picture().unwrap_or_default()), || over.load(Ordering::SeqCst), None);
        act.report.hush(false);
        if matches!(left, Ok(Leave::Quit)) {
            act.note("the screen is closed, the work goes on");
        }
        worker.join().unwrap_or_else(|_| Err(Error::bug("the work behind the screen died")))
    });
    act.report.hush(false);
    done
}

/// Seconds between two looks at what costs a pass over a large table.
const SLOW_SECONDS: f64 = 120.0;

/// A data node, working or not.
pub struct NodeScreen<'a> {
    host: &'a Host,
    root: &'a DataRoot,
    db: &'a Db,
    slow: Option<Slow>,
}

/// What is looked at every two minutes.
#[derive(Clone)]
struct Slow {
    at: UtcTime,
    heat: Vec<HeatRow>,
    forecast: Option<Forecast>,
    /// When the oldest waiting row of each dataset and kind was put in.
    oldest: BTreeMap<(String, String), UtcTime>,
}

impl<'a> NodeScreen<'a> {
    pub fn new(host: &'a Host, root: &'a DataRoot, db: &'a Db) -> Self {
        Self { host, root, db, slow: None }
    }

    /// The node now.
    pub fn picture(&mut self) -> Result<NodeSnapshot> {
        let (root, db, now) = (self.root, self.db, self.host.now());
        let mut coverage = Vec::new();
        for (name, key) in [(table::RAW_EQUITIES_BARS, timeframe::DAY), (table::CURATED_EQUITIES, ""), (table::REF_DELISTINGS, "")] {
            if let Some((_, c)) = ledger::coverage_held(db, name, key)? {
                let note = c.codes.iter().filter(|(code, _)| *code != "OK").map(|(code, n)| text!("{n} {code}")).collect::<Vec<_>>().join(", ");
                coverage.push(CoverageRow { table: name.into(), expected: c.expected, green: c.green, amber: c.amber, red: c.red, note });
            }
        }
        let record = attach::read_record(root)?;
        let (drive, _) = detect::drives::for_directory(self.host, root.base());
        let slow = self.slow(now)?;
        let at_work = attach::is_locked(root, "node")? || attach::is_locked(root, "wizard-pi-data-node")?;
        let left = |at: Option<UtcTime>| slow.forecast.as_ref().and_then(|f| at.map(|t| t.seconds_since(f.at).max(0.0)));
        let loop_row = |b: LoopBeat| LoopRow { name: b.name, seconds_ago: now.seconds_since(b.at).max(0.0), said: b.detail };
        Ok(NodeSnapshot {
            node_id: record.as_ref().map(|r| r.node_id.clone()).unwrap_or_default(),
            dataset: root.drive().dataset.clone(),
            now: Some(now),
            state: if at_work { "a node is at work".into() } else { "no node is running".into() },
            at_work,
            heartbeat_at: record.map(|r| r.heartbeat_at),
            coverage,
            heat: slow.heat.clone(),
            loops: node::beats(db)?.into_iter().map(loop_row).collect(),
            queue: queue_rows(db, &slow.oldest, now)?,
            vendors: budgets(root, db)?.iter().map(|b| vendor_row(b, now)).collect(),
            eta_seconds: left(slow.forecast.as_ref().and_then(|f| f.complete_at)),
            stage: stage::load_optional(root)?.map_or(0, |s| s.stage),
            next_stage_seconds: left(slow.forecast.as_ref().and_then(|f| f.stage_1_at)).filter(|s| *s > 0.0),
            disk_free: drive.as_ref().map_or(0, |d| d.free_bytes),
            disk_total: drive.as_ref().map_or(0, |d| d.total_bytes),
            events: newest_events(root),
        })
    }

    fn slow(&mut self, now: UtcTime) -> Result<Slow> {
        if let Some(slow) = self.slow.as_ref().filter(|s| now.seconds_since(s.at).abs() < SLOW_SECONDS) {
            return Ok(slow.clone());
        }
        let mut heat = Vec::new();
        for name in [table::RAW_EQUITIES_BARS, table::CURATED_EQUITIES] {
            heat.extend(heat_row(name, &ledger::coverage_by_month(self.db, name)?));
        }
        let slow = Slow { at: now, heat, forecast: foretold(self.host, self.root, self.db)?, oldest: queue::oldest_waiting(self.db)? };
        self.slow = Some(slow.clone());
        Ok(slow)
    }
}

/// When what is asked for will be there; `None` on a drive that has no stage yet.
pub fn foretold(host: &Host, root: &DataRoot, db: &Db) -> Result<Option<Forecast>> {
    let Some(stage) = stage::load_optional(root)? else { return Ok(None) };
    let (endpoints, edge) = (Endpoints::load(root)?, EdgeConfig::load(host)?);
    let now = clock_of(root, db)?;
    forecast::forecast(db, &endpoints, BackfillConfig::load(root)?.slices, &|vendor| edge.inflight(vendor), &stage, now).map(Some)
}

/// A table's months without a hole between the first and the last.
fn heat_row(table: &str, months: &BTreeMap<String, (u64, u64)>) -> Option<HeatRow> {
    let number = |month: &String| month.split_once('-').and_then(|(y, m)| Some(y.parse::<i32>().ok()? * 12 + m.parse::<i32>().ok()? - 1));
    let (first, last) = (number(months.keys().next()?)?, number(months.keys().next_back()?)?);
    let share = |n: i32| months.get(&format!("{:04}-{:02}", n / 12, n % 12 + 1)).map(|(green, all)| *green as f64 / (*all).max(1) as f64);
    Some(HeatRow { table: table.into(), from: months.keys().next()?.clone(), months: (first..=last).map(share).collect() })
}

fn queue_rows(db: &Db, oldest: &BTreeMap<(String, String), UtcTime>, now: UtcTime) -> Result<Vec<QueueRow>> {
    let mut rows: BTreeMap<(String, String), QueueRow> = BTreeMap::new();
    for ((dataset, kind, status), n) in queue::counts(db)? {
        let row = rows.entry((dataset.clone(), kind.clone())).or_insert_with(|| QueueRow { dataset, kind, ..QueueRow::default() });
        match status.as_str() {
            "PENDING" => row.pending = n,
            "LEASED" => row.leased = n,
            "DONE" => row.done = n,
            _ => row.failed = n,
        }
    }
    for (key, row) in &mut rows {
        row.oldest_seconds = oldest.get(key).map(|at| now.seconds_since(*at)).filter(|s| *s >= 0.0 && row.pending > 0);
    }
    Ok(rows.into_values().collect())
}

/// The drive's own clock: of a world, the time of its newest call.
fn clock_of(root: &DataRoot, db: &Db) -> Result<UtcTime> {
    let newest: Option<String> = db.lock()?.query_row("SELECT max(window_start) FROM budget_spend", [], |r| r.get(0))?;
    let written = newest.filter(|_| root.is_world()).and_then(|t| UtcTime::parse(&t).ok());
    Ok(written.unwrap_or_else(|| root.host().now()))
}

/// What may still be asked of every vendor that a lane uses, by the clock of the drive's world.
pub fn budgets(root: &DataRoot, db: &Db) -> Result<Vec<Standing>> {
    let endpoints = Endpoints::load(root)?;
    let slices = BackfillConfig::load(root)?.slices;
    let now = clock_of(root, db)?;
    let conn = db.lock()?;
    let mut out = Vec::new();
    for vendor in Vendor::ALL {
        let used = endpoints.entries().iter().any(|e| e.vendor == *vendor && e.enabled());
        if let Some(limits) = endpoints.limits(*vendor, slices).filter(|_| used) {
            out.extend(budget::standings(&conn, now, &limits)?);
        }
    }
    Ok(out)
}

fn vendor_row(b: &Standing, now: UtcTime) -> VendorRow {
    let state = match &b.frozen {
        Some((_, why)) => why.clone(),
        None if b.held_back + b.refused > 0 => text!("{} held back, {} refused", b.held_back, b.refused),
        None => "ok".into(),
    };
    VendorRow {
        vendor: b.vendor.clone(),
        window: b.window.into(),
        spent: b.spent,
        cap: b.limit,
        state,
        frozen_seconds: b.frozen.as_ref().map(|(until, _)| until.seconds_since(now).max(0.0)),
    }
}

/// The end of the newest log on the drive, oldest line first.
pub fn newest_events(root: &DataRoot) -> Vec<EventRow> {
    let Ok(entries) = std::fs::read_dir(root.base().join("logs")) else { return Vec::new() };
    let logs = entries.filter_map(|e| e.ok()).filter(|e| e.path().extension().is_some_and(|x| x == "jsonl"));
    let newest = logs.filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))).max();
    let text = newest.and_then(|(_, path)| tail(&path)).unwrap_or_default();
    let mut events: Vec<EventRow> = text.lines().filter_map(event).collect();
    events.drain(..events.len().saturating_sub(EVENTS));
    events
}

fn tail(path: &std::path::Path) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A log line that says something to a person.
fn event(line: &str) -> Option<EventRow> {
    let value: Value = serde_json::from_str(line).ok()?;
    let fields = &value["fields"];
    let text = fields["text"].as_str().or(fields["message"].as_str())?.trim();
    let severity = match value["level"].as_str()? {
        "ERROR" => Severity::Error,
        "WARN" => Severity::Warning,
        _ => Severity::Info,
    };
    (!text.is_empty()).then(|| Some(EventRow { at: UtcTime::parse(value["timestamp"].as_str()?).ok()?, severity, text: text.into() }))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_becomes_an_event_and_anything_else_is_left_out() {
        let line = r#"{"timestamp":"2026-11-21T13:48:26.468618Z","level":"WARN","fields":{"message":"wizard","text":"  done  [1/10] Model"}}"#;
        let row = event(line).unwrap();
        assert_eq!((row.severity, row.text.as_str()), (Severity::Warning, "done  [1/10] Model"));
        assert!(event("{\"timestamp\":").is_none() && event("").is_none());
    }
}
