//! The journal: an append-only, hash-chained record of wizard runs on the SSD. State is a fold over it.
//!
//! `hash = SHA-256(prev_hash + canonical JSON of the columns from seq to payload_json)`; `at` and `host_label` are for
//! people and outside the hash. An append is one immediate transaction with `synchronous=FULL`: when it returns, the
//! record is on the platter. Each append compares the drive's generation and fails with `TML-SSD-011` if another
//! process took the drive over.

use super::step::Scope;
use data_layer::control::{Db, Which};
use data_layer::error::{Error, Result, code};
use data_layer::host::Host;
use data_layer::root::DataRoot;
use data_layer::store::{canonical_json, sha256_hex};
use data_layer::time::UtcTime;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// Records that are verified at every opening; `fsck` verifies all of them.
const TAIL: i64 = 256;

/// Version of the journal's payloads; a step recorded under another one is asked again.
pub const PAYLOAD_SCHEMA: i64 = 1;

/// What happened to a step or a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Opened,
    Started,
    Done,
    Refused,
    Rewound,
    Paused,
    Closed,
}

impl Event {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Started => "started",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Rewound => "rewound",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }
    fn parse(text: &str) -> Result<Self> {
        [Self::Opened, Self::Started, Self::Done, Self::Refused, Self::Rewound, Self::Paused, Self::Closed]
            .into_iter()
            .find(|e| e.as_str() == text)
            .ok_or_else(|| Error::new(code::SSD_CHAIN, format!("the journal holds an unknown record kind '{text}'")))
    }
}

/// One record. The field order is the hashed order.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub seq: i64,
    pub run_id: String,
    pub wizard: String,
    pub step: String,
    pub visit: i64,
    #[serde(serialize_with = "as_text")]
    pub kind: Event,
    pub scope: String,
    pub machine_id: String,
    pub schema: i64,
    pub inputs_sha256: String,
    pub payload_json: String,
    #[serde(skip)]
    pub hash: String,
    #[serde(skip)]
    pub at: String,
}

fn as_text<S: serde::Serializer>(event: &Event, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_str(event.as_str())
}

impl Record {
    pub fn payload(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.payload_json)?)
    }
    fn chained(&self, prev: &str) -> Result<String> {
        Ok(sha256_hex(format!("{prev}{}", canonical_json(self)?).as_bytes()))
    }
}

/// What is appended; the journal fills in the rest.
pub struct Entry<'a> {
    pub step: &'a str,
    pub visit: i64,
    pub kind: Event,
    pub scope: Scope,
    pub inputs_sha256: &'a str,
    pub payload: &'a Value,
}

/// The journal of a drive, seen by one writer.
#[derive(Clone)]
pub struct Journal {
    db: Arc<Db>,
    generation: i64,
}

impl Journal {
    /// Open and verify the newest part of the chain. A broken chain is refused with the record it breaks at (`TML-SSD-013`).
    pub fn open(root: &DataRoot) -> Result<Self> {
        let journal = Self::unverified(root)?;
        journal.verify_tail()?;
        Ok(journal)
    }

    /// Open without looking at the chain: for whoever repairs it.
    pub fn unverified(root: &DataRoot) -> Result<Self> {
        let db = Arc::new(Db::open(root, Which::Journal)?);
        Ok(Self { generation: generation(&db)?, db })
    }

    /// Whether records were ever dropped to make the chain whole: then nothing that is not recorded was surely never done.
    pub fn was_mended(&self) -> Result<bool> {
        Ok(self.db.lock()?.query_row("SELECT count(*) FROM meta WHERE key = 'mended'", [], |r| r.get::<_, i64>(0))? > 0)
    }

    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// Recompute every hash from the first record on: `fsck`'s proof.
    pub fn verify_chain(&self) -> Result<()> {
        self.verify_after(0)
    }

    /// The newest records only, so that opening costs the same however long the drive has lived.
    fn verify_tail(&self) -> Result<()> {
        let last: i64 = self.db.lock()?.query_row("SELECT coalesce(max(seq), 0) FROM journal", [], |r| r.get(0))?;
        self.verify_after((last - TAIL).max(0))
    }

    fn verify_after(&self, seq: i64) -> Result<()> {
        let Some(record) = self.break_after(seq)? else { return Ok(()) };
        Err(Error::new(code::SSD_CHAIN, "the journal's hash chain is broken")
            .cause("a record was changed or lost after it was written: by another program, or by a drive that lied about flushes")
            .found(format!("record {} ({} {} of run {}, {})", record.seq, record.kind.as_str(), record.step, record.run_id, record.at))
            .fix("trademl runs recover   (the journal is kept aside; records before the break stay, the rest is found again on the drive)"))
    }

    /// The first record of all whose hash does not follow.
    pub fn first_break(&self) -> Result<Option<Record>> {
        self.break_after(0)
    }

    /// Recompute the hashes of the records after `seq`; the first of them is taken at its word about its predecessor.
    fn break_after(&self, seq: i64) -> Result<Option<Record>> {
        let conn = self.db.lock()?;
        let mut statement = conn.prepare(
            "SELECT seq, run_id, wizard, step, visit, kind, scope, machine_id, schema, inputs_sha256, payload_json, hash, at, prev_hash FROM journal WHERE seq > ?1 ORDER BY seq",
        )?;
        let mut rows = statement.query([seq])?;
        let mut prev: Option<String> = (seq == 0).then(String::new);
        while let Some(row) = rows.next()? {
            let record = read(row)?;
            let stored_prev: String = row.get(13)?;
            if prev.as_ref().is_some_and(|prev| *prev != stored_prev) || record.chained(&stored_prev)? != record.hash {
                return Ok(Some(record));
            }
            prev = Some(record.hash);
        }
        Ok(None)
    }

    /// Append one record, durably.
    pub fn append(&self, host: &Host, run_id: &str, wizard: &str, entry: &Entry<'_>) -> Result<Record> {
        host.failpoint("journal.append.before")?;
        let payload_json = canonical_json(entry.payload)?;
        let record = self.db.write(|tx| {
            let now: i64 = tx.query_row("SELECT COALESCE((SELECT value FROM meta WHERE key = 'generation'), '0')", [], |r| r.get::<_, String>(0))?.parse().unwrap_or(0);
            if now != self.generation {
                return Err(Error::new(code::SSD_TAKEN_OVER, "another machine has attached this drive since this run began")
                    .found(format!("generation {now}, ours is {}", self.generation))
                    .fix("stop the other one, then run the same command again"));
            }
            let last: Option<(i64, String)> = tx.query_row("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1", [], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            let (last_seq, prev) = last.unwrap_or((0, String::new()));
            let mut record = Record {
                seq: last_seq + 1,
                run_id: run_id.to_string(),
                wizard: wizard.to_string(),
                step: entry.step.to_string(),
                visit: entry.visit,
                kind: entry.kind,
                scope: entry.scope.as_str().to_string(),
                machine_id: host.machine_id().to_string(),
                schema: PAYLOAD_SCHEMA,
                inputs_sha256: entry.inputs_sha256.to_string(),
                payload_json,
                hash: String::new(),
                at: host.now().to_string(),
            };
            record.hash = record.chained(&prev)?;
            tx.execute(
                "INSERT INTO journal (seq, run_id, wizard, step, visit, kind, scope, machine_id, schema, inputs_sha256, payload_json, prev_hash, hash, at, host_label)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
                params![
                    record.seq, record.run_id, record.wizard, record.step, record.visit, record.kind.as_str(), record.scope, record.machine_id, record.schema,
                    record.inputs_sha256, record.payload_json, prev, record.hash, record.at, host.host_label()
                ],
            )?;
            Ok(record)
        })?;
        host.ack("journal", &record.seq.to_string());
        host.failpoint("journal.append.after")?;
        Ok(record)
    }

    /// All records of a run, in order.
    pub fn records(&self, run_id: &str) -> Result<Vec<Record>> {
        self.select("WHERE run_id = ?1 ORDER BY seq", params![run_id])
    }

    /// When each step of a wizard began and ended lately: run, step, event, the time on the machine's wall; oldest first.
    pub fn lately(&self, wizard: &str) -> Result<Vec<(String, String, Event, UtcTime)>> {
        const LOOKED_AT: i64 = 2_000;
        let conn = self.db.lock()?;
        let mut newest =
            conn.prepare_cached("SELECT run_id, step, kind, at FROM journal WHERE wizard = ?1 AND kind IN ('started', 'done') ORDER BY seq DESC LIMIT ?2")?;
        type Row = (String, String, String, String);
        let rows: Vec<Row> =
            newest.query_map(params![wizard, LOOKED_AT], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?.collect::<rusqlite::Result<_>>()?;
        rows.into_iter().rev().map(|(run, step, kind, at)| Ok((run, step, Event::parse(&kind)?, UtcTime::parse(&at)?))).collect()
    }

    /// The newest run of a wizard that was opened and not closed.
    pub fn open_run(&self, wizard: &str) -> Result<Option<String>> {
        let conn = self.db.lock()?;
        let found = conn
            .query_row(
                "SELECT run_id FROM journal o WHERE kind = 'opened' AND wizard = ?1
                 AND NOT EXISTS (SELECT 1 FROM journal c WHERE c.run_id = o.run_id AND c.kind = 'closed') ORDER BY seq DESC LIMIT 1",
                params![wizard],
                |r| r.get(0),
            )
            .optional()?;
        Ok(found)
    }

    /// What the caller of the wizard's open run tagged it with; none where nothing is open, or a person began it.
    pub fn open_tag(&self, wizard: &str) -> Result<Option<String>> {
        let Some(run) = self.open_run(wizard)? else { return Ok(None) };
        let opened = self.select("WHERE run_id = ?1 AND kind = 'opened'", params![run])?;
        let payload = opened.first().map(Record::payload).transpose()?;
        Ok(payload.and_then(|p| p["tag"].as_str().map(str::to_string)))
    }

    /// Whether a run that its caller tagged so was finished.
    pub fn closed_with_tag(&self, wizard: &str, tag: &str) -> Result<bool> {
        for opened in self.select("WHERE wizard = ?1 AND kind = 'opened' ORDER BY seq DESC", params![wizard])? {
            if opened.payload()?["tag"] == tag {
                return Ok(!self.select("WHERE run_id = ?1 AND kind = 'closed'", params![opened.run_id])?.is_empty());
            }
        }
        Ok(false)
    }

    /// The first and last record of every run, newest run first.
    pub fn runs(&self) -> Result<Vec<(Record, Record)>> {
        let opened = self.select("WHERE kind = 'opened' ORDER BY seq DESC", params![])?;
        opened
            .into_iter()
            .map(|first| {
                let last = self.select("WHERE run_id = ?1 ORDER BY seq DESC LIMIT 1", params![first.run_id])?.pop();
                last.map(|l| (first, l)).ok_or_else(|| Error::bug("a run without records"))
            })
            .collect()
    }

    /// The newest finished answer to a question's step in any run of `wizard` (defaults of a new run).
    pub fn remembered(&self, wizard: &str, step: &str) -> Result<Option<Record>> {
        Ok(self.select("WHERE wizard = ?1 AND step = ?2 AND kind = 'done' ORDER BY seq DESC LIMIT 1", params![wizard, step])?.pop())
    }

    fn select(&self, tail: &str, args: &[&dyn rusqlite::ToSql]) -> Result<Vec<Record>> {
        let conn = self.db.lock()?;
        let sql =
            format!("SELECT seq, run_id, wizard, step, visit, kind, scope, machine_id, schema, inputs_sha256, payload_json, hash, at FROM journal {tail}");
        let mut statement = conn.prepare(&sql)?;
        let mut rows = statement.query(args)?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push(read(row)?);
        }
        Ok(out)
    }
}

fn generation(db: &Db) -> Result<i64> {
    let text: Option<String> = db.lock()?.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |r| r.get(0)).optional()?;
    Ok(text.and_then(|t| t.parse().ok()).unwrap_or(0))
}

fn read(row: &Row<'_>) -> Result<Record> {
    Ok(Record {
        seq: row.get(0)?,
        run_id: row.get(1)?,
        wizard: row.get(2)?,
        step: row.get(3)?,
        visit: row.get(4)?,
        kind: Event::parse(&row.get::<_, String>(5)?)?,
        scope: row.get(6)?,
        machine_id: row.get(7)?,
        schema: row.get(8)?,
        inputs_sha256: row.get(9)?,
        payload_json: row.get(10)?,
        hash: row.get(11)?,
        at: row.get(12)?,
    })
}
