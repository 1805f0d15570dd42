//! What cannot wait for the night: a switch that stops an account and a symbol that was set aside are said as soon as they are in the journal.

use super::notify::{Channel, Delivered, Level, Message, Outbox};
use data_layer::control::Db;
use data_layer::error::Result;
use data_layer::store::{digest_of, sha256_hex};
use data_layer::time::UtcTime;
use rusqlite::params;

/// Older events are history; their marks may go.
const NEWS_S: i64 = 7 * 86_400;

/// An event of the journal, by what it is.
struct Event {
    id: String,
    text: String,
}

/// Say what happened since the last call, as one message, and deliver what is due. Nothing is done where no channel is configured.
pub fn raise(db: &Db) -> Result<Delivered> {
    let host = db.root().host().clone();
    let channels = Channel::configured(&host)?;
    if channels.is_empty() {
        return Ok(Delivered::default());
    }
    let (now, outbox) = (host.now(), Outbox::new(db));
    let news = unsaid(db, now.plus_seconds(-NEWS_S))?;
    if let Some(first) = news.first() {
        let ids: Vec<&str> = news.iter().map(|e| e.id.as_str()).collect();
        let title = if news.len() == 1 { first.text.clone() } else { text!("{} and {} more", first.text, news.len() - 1) };
        let text = news.iter().map(|e| e.text.as_str()).collect::<Vec<_>>().join("\n");
        outbox.put(&channels, &Message { id: text!("alarm {}", digest_of(&ids)?), level: Level::Alarm, title, text, at: now })?;
        // Marked only once the message is safe: a crash between says it again under the same id.
        mark(db, &news, now)?;
    }
    outbox.deliver(&channels)
}

fn key(event: &Event) -> String {
    format!("alarm|{}", sha256_hex(event.id.as_bytes()))
}

fn mark(db: &Db, news: &[Event], now: UtcTime) -> Result<()> {
    db.write(|tx| {
        for event in news {
            tx.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, ?2)", params![key(event), now.to_string()])?;
        }
        // No event that old is looked at again.
        tx.execute("DELETE FROM meta WHERE key >= 'alarm|' AND key < 'alarm}' AND value < ?1", [now.plus_seconds(-2 * NEWS_S).to_string()])?;
        Ok(())
    })
}

/// Events since `since` that no message spoke of, switches first.
fn unsaid(db: &Db, since: UtcTime) -> Result<Vec<Event>> {
    let conn = db.lock()?;
    let since = since.to_string();
    let mut out = Vec::new();
    let mut q = conn.prepare("SELECT seq, name, account, state, reason FROM switches WHERE state IN ('ENGAGED', 'TRIPPED') AND at >= ?1 ORDER BY seq")?;
    let mut rows = q.query([&since])?;
    while let Some(r) = rows.next()? {
        let (seq, name, account): (i64, String, String) = (r.get(0)?, r.get(1)?, r.get(2)?);
        let (state, reason): (String, String) = (r.get(3)?, r.get(4)?);
        let whose = if account == "*" { "every account".to_string() } else { account };
        out.push(Event { id: format!("switch|{seq}"), text: text!("{} of {whose} is {state}: {reason}", name.replace('_', " ")) });
    }
    let mut q = conn.prepare("SELECT symbol, since, reason FROM quarantine WHERE released_at IS NULL AND since >= ?1 ORDER BY since, symbol")?;
    let mut rows = q.query([&since])?;
    while let Some(r) = rows.next()? {
        let (symbol, at, reason): (String, String, String) = (r.get(0)?, r.get(1)?, r.get(2)?);
        // A graver reason takes the place of a lighter one under the same moment, and is news.
        out.push(Event { id: format!("quarantine|{symbol}|{at}|{reason}"), text: text!("{symbol} takes no increase: {reason}") });
    }
    let mut known = conn.prepare("SELECT 1 FROM meta WHERE key = ?1")?;
    let mut news = Vec::new();
    for event in out {
        if !known.exists([key(&event)])? {
            news.push(event);
        }
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use super::super::notify::tests::kit;
    use super::*;
    use crate::execution::quarantine::quarantine;
    use crate::execution::switches::{TripReason, arm, engage, trip};

    #[test]
    fn a_trip_a_stop_and_a_symbol_set_aside_leave_at_once_and_once() {
        let k = kit();
        let now = k.db.root().host().now();
        arm(&k.db, "SIM1", "me", now).unwrap();
        assert_eq!(raise(&k.db).unwrap(), Delivered::default(), "an armed account is no alarm");
        trip(&k.db, "SIM1", TripReason::MaxDrawdown, "11 %", now).unwrap();
        quarantine(&k.db, "AAPL", "an order that is not ours", now).unwrap();
        assert_eq!(raise(&k.db).unwrap().sent, 3, "one message for both, to each of three channels");
        assert_eq!(raise(&k.db).unwrap(), Delivered::default());
        engage(&k.db, "*", "enough", "me", now).unwrap();
        assert_eq!(raise(&k.db).unwrap().sent, 3);
        let got = k.receiver.got.lock().unwrap().clone();
        let (first, last) = (&got[0].2, &got[got.len() - 1].2);
        assert!(first.contains("MAX_DRAWDOWN: 11 %") && first.contains("AAPL takes no increase"), "{first}");
        assert!(last.contains("every account is ENGAGED: enough") && !last.contains("AAPL"), "{last}");
    }
}
