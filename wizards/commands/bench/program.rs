//! The program as a whole: how long a fresh process needs.

use super::Bench;
use super::measure::Job;
use crate::dashboard;
use crate::steps::screens::NodeScreen;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::ledger::{self, Change, Key, Row, Status, Verdict};
use data_layer::queue::{self, Kind, NewTask};
use data_layer::time::{DateRange, TradingDay};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn ourselves() -> Result<PathBuf> {
    Ok(std::env::current_exe()?)
}

/// The exit status and output of this program with `args`.
fn call(args: &[&str]) -> Result<(i32, Vec<u8>)> {
    let done = Command::new(ourselves()?).args(args).env_remove("TRADEML_ROOT").output()?;
    Ok((done.status.code().unwrap_or(-1), done.stdout))
}

/// `trademl --help`.
pub fn startup(bench: &mut Bench<'_>) -> Result<()> {
    let job = Job::new("cli_startup", 1, "starts").repeats(bench.scale.pick(3, 10, 20));
    let line = bench.clock.measure(job, || Ok(()), |()| call(&["--help"]), |(rc, _)| Ok(json!({"rc": rc})))?;
    bench.lines.push(line);
    Ok(())
}

/// A first-time user's first line, and first question, from the start of the process; the machine is looked at in between.
pub fn first_words(bench: &mut Bench<'_>) -> Result<()> {
    let repeats = bench.scale.pick(5, 20, 50);
    let home = bench.work.join("home");
    std::fs::create_dir_all(&home)?;
    for (topic, wanted) in [("first_output", ""), ("first_prompt", "Where shall the data live?")] {
        let job = Job::new(topic, 1, "starts").repeats(repeats);
        let line = bench.clock.measure(job, || Ok(()), |()| until(&home, wanted), |seen| Ok(json!({"seen": seen})))?;
        bench.lines.push(line);
    }
    Ok(())
}

/// Start the first wizard with an empty home and read until a text is on the screen.
fn until(home: &Path, wanted: &str) -> Result<bool> {
    let mut child = Command::new(ourselves()?)
        .args(["pi-data-node", "--plain"])
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let mut screen = child.stderr.take().ok_or_else(|| Error::bug("a pipe that is not there"))?;
    let seen = loop {
        let n = screen.read(&mut buffer)?;
        said.extend_from_slice(&buffer[..n]);
        if n == 0 || String::from_utf8_lossy(&said).contains(wanted) {
            break n > 0;
        }
    };
    child.kill()?;
    child.wait()?;
    Ok(seen)
}

/// One frame of the node's screen at 200 x 60 cells, and one picture for it, on a drive as in [`resume`].
pub fn screen(bench: &mut Bench<'_>) -> Result<()> {
    let partitions = bench.scale.pick(20_000, 450_000, 2_520_000);
    let root = bench.fresh_root("screen")?;
    let db = Db::open(&root, Which::Node)?;
    fill(bench, &db, partitions)?;
    let mut source = NodeScreen::new(bench.host, &root, &db);
    let first = bench.clock.measure(
        Job::new("screen_first_picture", partitions, "partition_rows").repeats(1),
        || Ok(()),
        |()| NodeScreen::new(bench.host, &root, &db).picture(),
        |p| Ok(json!(p.coverage.len())),
    )?;
    let picture =
        bench.clock.measure(Job::new("screen_picture", partitions, "partition_rows"), || Ok(()), |()| source.picture(), |p| Ok(json!(p.coverage.len())))?;
    let model = dashboard::Model::new(dashboard::Snapshot::Node(source.picture()?));
    let mut terminal = Terminal::new(TestBackend::new(200, 60)).map_err(|e| Error::bug(e.to_string()))?;
    let frame = bench.clock.measure(
        Job::new("screen_frame", 200 * 60, "cells").repeats(bench.scale.pick(20, 100, 200)),
        || Ok(()),
        |()| terminal.draw(|frame| dashboard::view(frame, &model)).map(|done| done.count).map_err(|e| Error::bug(e.to_string())),
        |_| Ok(json!("drawn")),
    )?;
    bench.lines.extend([first, picture, frame]);
    Ok(())
}

/// `trademl status --brief --json` on a drive of 20 thousand, 450 thousand or 2.5 million partitions and a fifth as many tasks.
pub fn resume(bench: &mut Bench<'_>) -> Result<()> {
    let partitions = bench.scale.pick(20_000, 450_000, 2_520_000);
    let root = bench.fresh_root("resume")?;
    let db = Db::open(&root, Which::Node)?;
    fill(bench, &db, partitions)?;
    drop(db);
    let place = root.base().display().to_string();
    let line = bench.clock.measure(
        Job::new("wizard_resume", partitions, "partition_rows"),
        || Ok(()),
        |()| call(&["status", "--brief", "--json", "--root", &place]),
        |(rc, text)| {
            let said: Value = serde_json::from_slice(&text).unwrap_or_default();
            let counts = &said["coverage"]["raw daily bars"];
            if rc != 0 || counts["expected"] != json!(partitions) {
                return Err(Error::new(code::BUG, "the drive's state was not read back").found(format!("exit {rc}, {counts}")));
            }
            Ok(json!({"GREEN": counts["green"], "AMBER": counts["amber"], "RED": counts["red"]}))
        },
    )?;
    bench.lines.push(line);
    Ok(())
}

const SYMBOLS: usize = 500;

fn fill(bench: &Bench<'_>, db: &Db, partitions: usize) -> Result<()> {
    let first: TradingDay = "1990-01-01".parse()?;
    let now = bench.host.now();
    let change = |i: usize| {
        let status = match i % 33 {
            0 if i % 2 == 1 => Status::Red,
            0 => Status::Amber,
            _ => Status::Green,
        };
        let key = Key {
            source_name: "alpaca".into(),
            table_name: data_layer::schema::table::RAW_EQUITIES_BARS.into(),
            symbol: format!("S{:04}", i % SYMBOLS),
            dt: first.plus_days((i / SYMBOLS) as i32),
            partition_key: data_layer::schema::timeframe::DAY.into(),
        };
        let verdict = Verdict {
            status,
            qc_code: "OK".into(),
            qc_score: 1.0,
            row_count: 390,
            expected_rows: Some(390),
            first_observed_at: Some(now),
            last_observed_at: Some(now),
        };
        Change::Put(Row { key, verdict })
    };
    for from in (0..partitions).step_by(50_000) {
        ledger::apply(db, &(from..partitions.min(from + 50_000)).map(change).collect::<Vec<_>>())?;
    }
    let kinds = [Kind::Bootstrap, Kind::Gap, Kind::Forward];
    let task = |i: usize| -> Result<NewTask> {
        let day = first.plus_days((i / SYMBOLS) as i32);
        let (symbol, kind) = (format!("S{:04}", i % SYMBOLS), kinds[i % 3]);
        let range = DateRange::new(day, day.plus_days(1))?;
        Ok(NewTask { dataset: "equities_eod".into(), symbol, range, kind, priority: kind.priority(), vendor: "alpaca".into(), not_before: None, run_id: None })
    };
    let tasks = (0..partitions / 5).map(task).collect::<Result<Vec<_>>>()?;
    db.write(|tx| queue::seed(tx, now, &tasks)).map(|_| ())
}
