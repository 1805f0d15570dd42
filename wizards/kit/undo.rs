//! What a run replaced, kept so that `trademl runs undo` can put it back.
//!
//! Files of the drive are kept on it (`control/undo/<run>/`), settings of the machine on the machine
//! (`$XDG_STATE_HOME/trademl/undo/`): a path of a machine never gets onto a drive. A file is put back only where it still
//! is what the run wrote. Raw data, models, trials, verdicts and orders are facts; they are not taken back.

use super::act::Act;
use super::journal::Record;
use data_layer::control::{Db, Which};
use data_layer::env_file::{self, EnvFile};
use data_layer::error::Result;
use data_layer::host::Host;
use data_layer::root::{DataPath, DataRoot};
use data_layer::store::{self, sha256_hex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One file that a run wrote.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Where the old contents are; `None` = there was no such file.
    before: Option<DataPath>,
    after_sha256: String,
}

/// One variable that a run set in this machine's private file.
#[derive(Serialize, Deserialize)]
struct Variable {
    before: Option<String>,
    after: String,
}

/// What became of one thing that a run wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Undone(String),
    /// Left as it is, and why.
    Left(String),
}

fn folder(run: &str) -> Result<DataPath> {
    DataPath::new(format!("control/undo/{run}"))
}

fn kept(root: &DataRoot, run: &str) -> Result<BTreeMap<String, Kept>> {
    match store::read(root, &folder(run)?.join("files.json")?)? {
        Some(bytes) => Ok(serde_json::from_slice(&bytes)?),
        None => Ok(BTreeMap::new()),
    }
}

/// Before a run writes `after` to `path`: keep what is there. A second call of the same run keeps the first contents.
pub fn keep(act: &Act<'_>, path: &DataPath, after: &[u8]) -> Result<()> {
    let mut files = kept(act.root, act.run)?;
    let before = match files.remove(path.as_str()) {
        Some(earlier) => earlier.before,
        None => match store::read(act.root, path)? {
            Some(bytes) => {
                let copy = folder(act.run)?.join(&path.as_str().replace('/', "~"))?;
                store::write_atomic(act.root, &copy, &bytes)?;
                Some(copy)
            }
            None => None,
        },
    };
    files.insert(path.to_string(), Kept { before, after_sha256: sha256_hex(after) });
    store::write_atomic(act.root, &folder(act.run)?.join("files.json")?, &serde_json::to_vec_pretty(&files)?).map(drop)
}

fn machine_record(host: &Host, run: &str) -> PathBuf {
    host.state_dir().join("undo").join(format!("{run}.json"))
}

fn variables(host: &Host, run: &str) -> Result<BTreeMap<String, Variable>> {
    match std::fs::read(machine_record(host, run)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(e.into()),
    }
}

/// Before a run sets variables of this machine: keep their old values. Secrets are never kept twice, so never here.
pub fn keep_variables(act: &Act<'_>, before: &EnvFile, after: &EnvFile) -> Result<()> {
    let mut known = variables(act.host, act.run)?;
    for change in before.changes(after).into_iter().filter(|c| !data_layer::env_vars::is_secret(&c.key)) {
        let Some(new) = after.get(&change.key) else { continue };
        let old = known.remove(&change.key).map_or_else(|| before.get(&change.key), |earlier| earlier.before);
        known.insert(change.key, Variable { before: old, after: new });
    }
    data_layer::disk::replace(act.host, &machine_record(act.host, act.run), &serde_json::to_vec_pretty(&known)?)
}

/// Take back what can be taken back of a run, or with `dry_run` only say what would be.
pub fn undo(root: &DataRoot, run: &Record, dry_run: bool) -> Result<Vec<(String, Fate)>> {
    let mut out = Vec::new();
    files(root, &run.run_id, dry_run, &mut out)?;
    settings(root.host(), &run.run_id, dry_run, &mut out)?;
    tasks(root, &run.run_id, dry_run, &mut out)?;
    out.extend(facts(&run.wizard));
    Ok(out)
}

fn files(root: &DataRoot, run: &str, dry_run: bool, out: &mut Vec<(String, Fate)>) -> Result<()> {
    let mut left: BTreeMap<String, Kept> = BTreeMap::new();
    for (name, file) in kept(root, run)? {
        let path = DataPath::new(name.as_str())?;
        let now = store::read(root, &path)?;
        let fate = match (&now, &file.before) {
            (Some(bytes), _) if sha256_hex(bytes) != file.after_sha256 => {
                Fate::Left("it was changed after this run; undo the later run first, or edit it".into())
            }
            (None, None) => Fate::Undone("was gone already".into()),
            (None, Some(_)) => Fate::Left("somebody removed it after this run".into()),
            (Some(_), None) => {
                if !dry_run {
                    std::fs::remove_file(root.locate(&path))?;
                }
                Fate::Undone("removed; it was not there before".into())
            }
            (Some(_), Some(copy)) => {
                let bytes = store::read(root, copy)?.unwrap_or_default();
                if !dry_run {
                    store::write_atomic(root, &path, &bytes)?;
                }
                Fate::Undone("as it was before".into())
            }
        };
        if matches!(fate, Fate::Left(_)) {
            left.insert(name.clone(), file);
        }
        out.push((name, fate));
    }
    let record = folder(run)?.join("files.json")?;
    if !dry_run && root.locate(&record).exists() {
        store::write_atomic(root, &record, &serde_json::to_vec_pretty(&left)?)?;
    }
    Ok(())
}

fn settings(host: &Host, run: &str, dry_run: bool, out: &mut Vec<(String, Fate)>) -> Result<()> {
    let known = variables(host, run)?;
    if known.is_empty() {
        return Ok(());
    }
    let mut file = env_file::read(host)?;
    for (key, variable) in known {
        let fate = match (file.get(&key) == Some(variable.after), variable.before) {
            (false, _) => Fate::Left("it was changed after this run".into()),
            (true, Some(old)) => {
                file.set(&key, &old);
                Fate::Undone("as it was before".into())
            }
            (true, None) => {
                file.remove(&key);
                Fate::Undone("removed; it was not set before".into())
            }
        };
        out.push((text!("{key} of this machine"), fate));
    }
    if dry_run {
        return Ok(());
    }
    env_file::save(host, &file)?;
    Ok(std::fs::remove_file(machine_record(host, run))?)
}

fn tasks(root: &DataRoot, run: &str, dry_run: bool, out: &mut Vec<(String, Fate)>) -> Result<()> {
    if !root.locate(&DataPath::new(Which::Node.path())?).exists() {
        return Ok(());
    }
    let db = Db::open(root, Which::Node)?;
    let count = |status: &str| -> Result<i64> {
        let sql = format!("SELECT count(*) FROM backfill_queue WHERE run_id = ?1 AND status {status}");
        Ok(db.lock()?.query_row(&sql, [run], |r| r.get(0))?)
    };
    let (waiting, done, leased) = (count("IN ('PENDING', 'FAILED')")?, count("= 'DONE'")?, count("= 'LEASED'")?);
    if waiting > 0 {
        if !dry_run {
            db.write(|tx| Ok(tx.execute("DELETE FROM backfill_queue WHERE run_id = ?1 AND status IN ('PENDING', 'FAILED')", [run])?))?;
        }
        out.push((text!("{waiting} tasks that wait"), Fate::Undone("withdrawn".into())));
    }
    if leased > 0 {
        out.push((text!("{leased} tasks at work"), Fate::Left("a node has leased them; stop it first, then undo again".into())));
    }
    if done > 0 {
        let why = "their data is on the drive; raw data is never deleted one by one (remove the data root to be rid of all)";
        out.push((text!("{done} finished tasks"), Fate::Left(why.into())));
    }
    Ok(())
}

/// What a wizard leaves behind that is a fact.
fn facts(wizard: &str) -> Option<(String, Fate)> {
    let (what, why) = match wizard {
        "train" => ("the trained model and its trials", "every trial is counted for ever; a challenger that is not promoted does nothing"),
        "evaluate" => ("the verdict and its tear sheet", "a verdict is recorded either way; judging again adds another one"),
        "shadow" => ("the shadowed days", "a day is recorded once, as it was seen then"),
        "paper-trade" => ("the orders", "what was sent is at the broker: cancel or close it there, or let the next day's plan do it"),
        _ => return None,
    };
    Some((what.into(), Fate::Left(why.into())))
}
