//! `pipeline_runs`: what ran, when, how it ended. One row for each run of a loop.

use crate::control::Db;
use crate::error::{Result, code};
use crate::host::Host;
use crate::time::UtcTime;
use rusqlite::params;
use serde::Serialize;
use serde_json::Value;

/// Days after which a finished run is forgotten.
const KEPT_DAYS: i64 = 90;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunState {
    Running,
    Failed,
    Succeeded,
    Cancelled,
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Failed => "FAILED",
            Self::Succeeded => "SUCCEEDED",
            Self::Cancelled => "CANCELLED",
        }
    }
    fn parse(text: &str) -> Self {
        match text {
            "RUNNING" => Self::Running,
            "SUCCEEDED" => Self::Succeeded,
            "CANCELLED" => Self::Cancelled,
            _ => Self::Failed,
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    pub pipeline: String,
    pub state: RunState,
    pub started_at: UtcTime,
    pub finished_at: Option<UtcTime>,
    /// What it came to, or the error in words.
    pub metrics: Value,
}

/// Do `f` as a run of `pipeline`: what it returns beside its value is the row's `metrics_json`.
pub fn record<T>(db: &Db, host: &Host, pipeline: &str, params: &Value, f: impl FnOnce() -> Result<(T, Value)>) -> Result<T> {
    let id = uuid::Builder::from_random_bytes(host.random_bytes()).into_uuid().to_string();
    let (params, started) = (params.to_string(), host.now().to_string());
    db.write(|tx| {
        let insert = "INSERT INTO pipeline_runs (id, pipeline_name, params_json, status, started_at) VALUES (?1, ?2, ?3, 'RUNNING', ?4)";
        tx.execute(insert, params![id, pipeline, params, started])?;
        Ok(())
    })?;
    let done = f();
    let (state, metrics) = match &done {
        Ok((_, metrics)) => (RunState::Succeeded, metrics.to_string()),
        Err(e) if e.is(code::USE_INTERRUPTED) || e.is(code::USE_TERMINATED) => (RunState::Cancelled, "{}".into()),
        Err(e) => (RunState::Failed, serde_json::json!({"code": e.body().code.id, "error": e.to_string()}).to_string()),
    };
    let ended = host.now().to_string();
    db.write(|tx| {
        tx.execute("UPDATE pipeline_runs SET status = ?2, finished_at = ?3, metrics_json = ?4 WHERE id = ?1", params![id, state.as_str(), ended, metrics])?;
        Ok(())
    })?;
    done.map(|(value, _)| value)
}

/// Runs that a process before this one left behind are over. Called when a service begins.
pub fn settle(db: &Db, now: UtcTime) -> Result<()> {
    let at = now.to_string();
    db.write(|tx| {
        let words = r#"{"error":"the process ended before the run did"}"#;
        tx.execute("UPDATE pipeline_runs SET status = 'FAILED', finished_at = ?1, metrics_json = ?2 WHERE status = 'RUNNING'", params![at, words])?;
        Ok(())
    })?;
    forget(db, now)
}

/// Very old runs are forgotten; a service that is never started anew does this nightly.
pub fn forget(db: &Db, now: UtcTime) -> Result<()> {
    let old = now.plus_seconds(-KEPT_DAYS * 86_400).to_string();
    db.write(|tx| Ok(tx.execute("DELETE FROM pipeline_runs WHERE finished_at < ?1", [old]).map(drop)?))
}

/// The newest run of each pipeline, by name.
pub fn newest(db: &Db) -> Result<Vec<Run>> {
    let conn = db.lock()?;
    let mut st = conn.prepare_cached(
        "SELECT pipeline_name, status, max(started_at), finished_at, ifnull(metrics_json, '{}') FROM pipeline_runs GROUP BY pipeline_name ORDER BY 1",
    )?;
    type Row = (String, String, String, Option<String>, String);
    let rows: Vec<Row> = st.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))?.collect::<std::result::Result<_, _>>()?;
    let run = |(pipeline, state, started, finished, metrics): Row| {
        Ok(Run {
            pipeline,
            state: RunState::parse(&state),
            started_at: UtcTime::parse(&started)?,
            finished_at: finished.map(|t| UtcTime::parse(&t)).transpose()?,
            metrics: serde_json::from_str(&metrics).unwrap_or_default(),
        })
    };
    rows.into_iter().map(run).collect()
}
