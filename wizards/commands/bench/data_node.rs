//! The data node: its durable queue, and the ledger of what it should have and has.

use super::measure::Job;
use super::{Bench, Scale, made};
use data_layer::control::{Db, Which};
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::ledger::digests::{Line, Series};
use data_layer::ledger::{self, Row, Sheet, Status, Trust};
use data_layer::queue::{self, Kind, Lease, NewTask, Wanted, Worker};
use data_layer::root::DataRoot;
use data_layer::schema::dataset;
use data_layer::time::{DateRange, TradingDay, UtcTime};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const VENDOR: &str = "alpaca";

/// A line of `queue.jsonl`.
#[derive(Deserialize)]
struct Asked {
    dataset: String,
    symbol: String,
    start_date: TradingDay,
    end_date: TradingDay,
    kind: Kind,
    priority: i64,
}

impl Asked {
    fn made(n: usize) -> Result<Vec<Self>> {
        let kinds = [Kind::Bootstrap, Kind::Gap, Kind::QcProbe, Kind::Forward];
        let sessions = made::sessions(3_000)?;
        let asked = |i: usize| {
            let (day, kind) = (sessions[i % sessions.len()], kinds[i * 7 % 4]);
            Self {
                dataset: [dataset::EQUITIES_MINUTE, dataset::EQUITIES_EOD][i % 2].into(),
                symbol: format!("S{:04}", i / sessions.len() % 500),
                start_date: day,
                end_date: day.plus_days(1),
                kind,
                priority: kind.priority(),
            }
        };
        Ok((0..n).map(asked).collect())
    }

    fn task(self) -> Result<NewTask> {
        Ok(NewTask {
            dataset: self.dataset,
            symbol: self.symbol,
            range: DateRange::new(self.start_date, self.end_date)?,
            kind: self.kind,
            priority: self.priority,
            vendor: VENDOR.into(),
            not_before: None,
            run_id: None,
        })
    }
}

/// `queue.jsonl`: one transaction that seeds all tasks; then leases and completions, every one durable before the next.
pub fn queue(bench: &mut Bench<'_>) -> Result<()> {
    let asked = if bench.inputs.are_made() { Asked::made(made::tasks(bench.scale))? } else { bench.inputs.records("queue.jsonl")? };
    let tasks = asked.into_iter().map(Asked::task).collect::<Result<Vec<_>>>()?;
    let now = bench.host.now();
    let seeded = |name: &str| -> Result<Db> {
        let db = Db::open(&bench.fresh_root(name)?, Which::Node)?;
        db.write(|tx| queue::seed(tx, now, &tasks))?;
        Ok(db)
    };
    let enqueue = bench.clock.measure(
        Job::new("queue_enqueue_durable", tasks.len(), "tasks").repeats(3),
        || Db::open(&bench.fresh_root("enqueue")?, Which::Node),
        |db| db.write(|tx| queue::seed(tx, now, &tasks)),
        |report| Ok(json!(report.inserted)),
    )?;
    let wanted = tasks.len().min(bench.scale.pick(500, 5_000, 20_000));
    let one = Job::new("queue_lease_complete_durable", wanted, "tasks").repeats(3);
    let one = bench.clock.measure(one, || seeded("lease"), |db| drain(bench.host, &db, now, wanted, 1), |done| Ok(json!(done)))?;
    let many = Job::new("queue_lease_complete_durable", wanted, "tasks").repeats(3).batch(64);
    let many = bench.clock.measure(many, || seeded("batch"), |db| drain(bench.host, &db, now, wanted, 64), |done| Ok(json!(done)))?;
    bench.lines.extend([enqueue, one, many]);
    Ok(())
}

/// Lease up to `batch` tasks at a time until `wanted` are done. What was leased is completed in the transaction that leases the next.
fn drain(host: &Host, db: &Db, now: UtcTime, wanted: usize, batch: usize) -> Result<usize> {
    let datasets = [dataset::EQUITIES_EOD.to_string(), dataset::EQUITIES_MINUTE.to_string()];
    let worker = Worker::new(host, "bench", Duration::from_secs(600));
    let mut held: Vec<Lease> = Vec::new();
    let mut done = 0;
    loop {
        let room = (wanted - done - held.len()).min(batch);
        let next = db.write(|tx| {
            done += usize::try_from(queue::complete_all(tx, now, &held, "OK")?).unwrap_or(0);
            let wanted = Wanted { vendor: VENDOR, datasets: &datasets, max: &room };
            if room == 0 { Ok(Vec::new()) } else { queue::lease_batches(tx, now, &worker, &wanted, room) }
        })?;
        if next.is_empty() {
            return Ok(done);
        }
        held = next;
    }
}

/// `expected.parquet` against `observed.parquet`: ledger rows, gap tasks, the ledger's export. Once on an empty drive, once
/// again with nothing changed.
pub fn audit(bench: &mut Bench<'_>) -> Result<()> {
    let grid = Grid::of(bench)?;
    let cells = grid.len();
    let fresh = || Ok((bench.fresh_root("audit")?, true));
    let full = Job::new("audit_full", cells, "partitions").repeats(3);
    let full = bench.clock.measure(full, fresh, |(root, _)| grid.audit(&root).map(|()| root), |root| outcome(&root))?;
    let kept = DataRoot::open(bench.host, &bench.work.join("audit"))?;
    let repeat = Job::new("audit_repeat", cells, "partitions").repeats(3);
    let repeat = bench.clock.measure(repeat, || Ok(kept.clone()), |root| grid.audit(&root).map(|()| root), |root| outcome(&root))?;
    bench.lines.extend([full, repeat]);
    Ok(())
}

/// A table and a symbol.
type Name = (String, String);

/// What should be there and what is, in order of the day.
struct Grid {
    /// Days and the rows that each should have.
    expected: BTreeMap<Name, Vec<(TradingDay, u64)>>,
    /// Days, the rows that each has, and whether the checksum matched.
    observed: BTreeMap<Name, Vec<(TradingDay, u64, bool)>>,
}

impl Grid {
    fn of(bench: &Bench<'_>) -> Result<Self> {
        let mut grid = if bench.inputs.are_made() { Self::made(bench.scale) } else { Self::read(bench) }?;
        grid.expected.values_mut().for_each(|days| days.sort_unstable());
        grid.observed.values_mut().for_each(|days| days.sort_unstable());
        Ok(grid)
    }

    fn len(&self) -> usize {
        self.expected.values().map(Vec::len).sum()
    }

    /// 3 % missing, 1 % of the minutes short, 0.2 % with a bad checksum.
    fn made(scale: Scale) -> Result<Self> {
        let (symbols, daily, minutes) = made::grid(scale);
        let sessions = made::sessions(daily)?;
        let table = |name: &str, days: &[TradingDay], rows: u64| -> Vec<(Name, TradingDay, u64)> {
            let cells = (0..symbols).flat_map(|s| days.iter().map(move |d| (s, *d)));
            cells.map(|(s, d)| ((name.to_string(), format!("S{s:04}")), d, rows)).collect()
        };
        let mut cells = table("raw/equities_bars", &sessions, 1);
        cells.extend(table("raw/equities_minute", &sessions[daily - minutes..], 390));
        let mut out = Self { expected: BTreeMap::new(), observed: BTreeMap::new() };
        let luck = made::trouble(cells.len());
        for (i, ((name, day, rows), luck)) in cells.into_iter().zip(luck).enumerate() {
            let short = luck > 0.98 && luck <= 0.99 && rows > 1;
            if luck > 0.03 {
                let seen = if short { 150 + i as u64 % 239 } else { rows };
                out.observed.entry(name.clone()).or_default().push((day, seen, !(luck > 0.99 && luck <= 0.992)));
            }
            out.expected.entry(name).or_default().push((day, rows));
        }
        Ok(out)
    }

    fn read(bench: &Bench<'_>) -> Result<Self> {
        let cells = |file: &str, rows: &str| -> Result<Vec<(Name, TradingDay, u64)>> {
            let (tables, symbols) = (bench.inputs.texts(file, "table_name")?, bench.inputs.texts(file, "symbol")?);
            let (days, rows) = (bench.inputs.days(file, "dt")?, bench.inputs.floats(file, rows)?);
            Ok(tables.into_iter().zip(symbols).zip(days.into_iter().zip(rows)).map(|(name, (day, n))| (name, day, n as u64)).collect())
        };
        let mut out = Self { expected: BTreeMap::new(), observed: BTreeMap::new() };
        for (name, day, rows) in cells("expected.parquet", "expected_rows")? {
            out.expected.entry(name).or_default().push((day, rows));
        }
        let good = bench.inputs.flags("observed.parquet", "checksum_ok")?;
        for ((name, day, rows), good) in cells("observed.parquet", "rows")?.into_iter().zip(good) {
            out.observed.entry(name).or_default().push((day, rows, good));
        }
        Ok(out)
    }

    /// As the node's audit does it: verdicts of a series, their digest, and where the ledger does not say the same its rows,
    /// the tasks that repair them, and the export.
    fn audit(&self, root: &DataRoot) -> Result<()> {
        let db = Db::open(root, Which::Node)?;
        let now = UtcTime::parse("2024-06-03T00:00:00Z")?;
        let (mut sheets, mut rows, mut changed) = (Vec::new(), 0, 0);
        for (name, expected) in &self.expected {
            let (Some(first), Some(last)) = (expected.first(), expected.last()) else { continue };
            let lines = judge(expected, self.observed.get(name).map_or(&[][..], Vec::as_slice), now);
            let series = Series { table: name.0.clone(), symbol: name.1.clone(), key: String::new(), days: DateRange::new(first.0, last.0.plus_days(1))? };
            rows += lines.len();
            sheets.push(Sheet { series, lines, kept: true });
            if rows >= ledger::ROWS_PER_COMMIT {
                changed += ledger::bring(&db, &sheets, Trust::Digests)?;
                (sheets, rows) = (Vec::new(), 0);
            }
        }
        changed += ledger::bring(&db, &sheets, Trust::Digests)?;
        if changed > 0 {
            let gaps = self.expected.keys().map(|(table, _)| table.as_str()).collect::<BTreeSet<_>>();
            let gaps = gaps.into_iter().map(|table| ledger::troubled(&db, table, TradingDay(0), TradingDay(40_000))).collect::<Result<Vec<_>>>()?;
            let gaps = gaps.concat().iter().map(gap).collect::<Result<Vec<_>>>()?;
            db.write(|tx| queue::seed(tx, now, &gaps))?;
        }
        ledger::export(root, &db).map(|_| ())
    }
}

/// Expected and observed days of a series side by side, each with its verdict.
fn judge(expected: &[(TradingDay, u64)], mut observed: &[(TradingDay, u64, bool)], now: UtcTime) -> Vec<Line<'static>> {
    let mut out = Vec::with_capacity(expected.len());
    for (day, wanted) in expected {
        while observed.first().is_some_and(|(d, ..)| d < day) {
            observed = &observed[1..];
        }
        let (status, qc_code, row_count) = match observed.first().filter(|(d, ..)| d == day) {
            None => (Status::Red, "MISSING", 0),
            Some((_, rows, false)) => (Status::Amber, "CHECKSUM_MISMATCH", *rows),
            Some((_, rows, true)) if rows < wanted => (Status::Amber, "SHORT_SESSION", *rows),
            Some((_, rows, true)) => (Status::Green, "OK", *rows),
        };
        let qc_score = if status == Status::Green { 1.0 } else { 0.0 };
        let (first_observed_at, last_observed_at, expected_rows) = (Some(now), Some(now), Some(*wanted));
        out.push(Line { source: VENDOR, dt: *day, status, qc_code, qc_score, row_count, expected_rows, first_observed_at, last_observed_at });
    }
    out
}

/// The task that would repair a row that is not GREEN.
fn gap(row: &Row) -> Result<NewTask> {
    let day = row.key.dt;
    Ok(NewTask {
        dataset: row.key.table_name.trim_start_matches("raw/").to_string(),
        symbol: row.key.symbol.clone(),
        range: DateRange::new(day, day.plus_days(1))?,
        kind: Kind::Gap,
        priority: Kind::Gap.priority(),
        vendor: VENDOR.into(),
        not_before: None,
        run_id: None,
    })
}

fn outcome(root: &DataRoot) -> Result<Value> {
    let db = Db::open(root, Which::Node)?;
    let rows = ledger::all_rows(&db)?;
    let mut out: BTreeMap<String, u64> = BTreeMap::new();
    for row in &rows {
        *out.entry(row.verdict.status.as_str().into()).or_default() += 1;
    }
    out.insert("rows_sum".into(), rows.iter().map(|r| r.verdict.row_count).sum());
    out.insert("gap_tasks".into(), queue::counts(&db)?.values().sum());
    Ok(json!(out))
}
