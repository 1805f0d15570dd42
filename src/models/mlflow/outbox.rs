//! What is still to be said: one entry an event of the registry, in the order of the events.

use crate::models::registry::Registry;
use data_layer::error::Result;
use data_layer::store::canonical_json;
use rusqlite::{OptionalExtension, params};
use serde_json::{Value, json};

/// An entry that has not been sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Row of the outbox.
    pub seq: i64,
    /// Row of `model_events`.
    pub event: i64,
    pub strategy: String,
    pub version: String,
    /// The event that brought the model into the registry.
    pub first: bool,
}

/// Make an entry of every event that has none. Events are append-only, so this loses nothing and repeats nothing.
pub(super) fn fill(registry: &Registry) -> Result<()> {
    registry.db().write(|tx| {
        let known: i64 = tx.query_row("SELECT coalesce(max(CAST(json_extract(body_json, '$.event') AS INTEGER)), 0) FROM mlflow_outbox", [], |r| r.get(0))?;
        let mut query = tx.prepare("SELECT seq, strategy, version, from_stage IS NULL FROM model_events WHERE seq > ?1 ORDER BY seq")?;
        let rows = query.query_map([known], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get::<_, bool>(3)?)))?;
        for (event, strategy, version, first) in rows.collect::<rusqlite::Result<Vec<_>>>()? {
            let body = canonical_json(&json!({"event": event, "strategy": strategy, "version": version}))?;
            tx.execute("INSERT INTO mlflow_outbox (call, body_json) VALUES (?1, ?2)", params![if first { "model" } else { "event" }, body])?;
        }
        Ok(())
    })
}

/// Entries that were not sent, oldest first.
pub(super) fn waiting(registry: &Registry) -> Result<Vec<Entry>> {
    let conn = registry.db().lock()?;
    let mut query = conn.prepare(
        "SELECT seq, json_extract(body_json, '$.event'), json_extract(body_json, '$.strategy'), json_extract(body_json, '$.version'), call = 'model'
         FROM mlflow_outbox WHERE sent_at IS NULL ORDER BY seq",
    )?;
    let rows = query.query_map([], |r| Ok(Entry { seq: r.get(0)?, event: r.get(1)?, strategy: r.get(2)?, version: r.get(3)?, first: r.get(4)? }))?;
    Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
}

/// Keep the server's answer; the entry is never said again.
pub(super) fn sent(registry: &Registry, entry: &Entry, answer: &Value) -> Result<()> {
    let (at, answer) = (registry.db().root().host().now().to_string(), canonical_json(answer)?);
    registry
        .db()
        .write(|tx| Ok(tx.execute("UPDATE mlflow_outbox SET sent_at = ?2, answer_json = ?3 WHERE seq = ?1", params![entry.seq, at, answer]).map(drop)?))
}

/// The answer to the entry that made a model known.
pub(super) fn answer_of_model(registry: &Registry, strategy: &str, version: &str) -> Result<Option<Value>> {
    let conn = registry.db().lock()?;
    let text: Option<String> = conn
        .query_row(
            "SELECT answer_json FROM mlflow_outbox WHERE call = 'model' AND sent_at IS NOT NULL AND json_extract(body_json, '$.strategy') = ?1
             AND json_extract(body_json, '$.version') = ?2",
            [strategy, version],
            |r| r.get(0),
        )
        .optional()?;
    Ok(text.map(|t| serde_json::from_str(&t)).transpose()?)
}
