//! What a key was found able to do: one row per lane in `entitlements`, with the vendor's own words.

use super::{DocStatus, EnableStatus, Entry};
use crate::error::Result;
use crate::time::UtcTime;
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a live call showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveStatus {
    Unprobed,
    LiveVerified,
    LiveFailed,
    EntitlementBlocked,
}

impl LiveStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unprobed => "unprobed",
            Self::LiveVerified => "live_verified",
            Self::LiveFailed => "live_failed",
            Self::EntitlementBlocked => "entitlement_blocked",
        }
    }
    fn parse(text: &str) -> Self {
        match text {
            "live_verified" => Self::LiveVerified,
            "live_failed" => Self::LiveFailed,
            "entitlement_blocked" => Self::EntitlementBlocked,
            _ => Self::Unprobed,
        }
    }
}

/// One lane's row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entitlement {
    pub vendor: String,
    pub dataset: String,
    pub lane: String,
    pub live: LiveStatus,
    /// The vendor's words, redacted.
    pub detail: String,
    pub checked_at: UtcTime,
    /// How often in a row the lane was found refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Days after which a lane is looked at again: one that serves weekly, one that was refused after 1, 2, 4 and then weekly.
const AGAIN_DAYS: [i32; 4] = [7, 1, 2, 4];

impl Entitlement {
    /// Whether the lane must not be asked until the next audit.
    pub fn blocked(&self) -> bool {
        self.live == LiveStatus::EntitlementBlocked
    }
    /// Whether it is time to look again.
    pub fn is_due(&self, now: UtcTime) -> bool {
        let days = AGAIN_DAYS.get(self.refusals as usize).copied().unwrap_or(AGAIN_DAYS[0]);
        now.utc_day().0 - self.checked_at.utc_day().0 >= days
    }
}

/// Record a finding; the newest one counts.
pub fn record(tx: &Transaction<'_>, entry: &Entry, live: LiveStatus, detail: &str, at: UtcTime) -> Result<()> {
    let doc = if entry.doc_status == DocStatus::Documented { "documented" } else { "undocumented" };
    let enable = match (live, entry.enable_status) {
        (LiveStatus::EntitlementBlocked | LiveStatus::LiveFailed, _) | (_, EnableStatus::Disabled) => "disabled",
        (_, EnableStatus::Core) => "core",
        (_, EnableStatus::Supplemental) => "supplemental",
        (_, EnableStatus::ResearchOnly) => "research_only",
    };
    let before = all(tx)?.remove(&(entry.vendor.as_str().to_string(), entry.dataset.clone())).map_or(0, |e| e.refusals);
    let mut evidence = serde_json::json!({ "words": detail });
    if live == LiveStatus::EntitlementBlocked {
        evidence["refusals"] = (before + 1).into();
    }
    let evidence = crate::store::canonical_json(&evidence)?;
    tx.execute(
        "INSERT OR REPLACE INTO entitlements (vendor, dataset, lane, doc_status, live_status, enable_status, evidence_json, checked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![entry.vendor.as_str(), entry.dataset, entry.lane, doc, live.as_str(), enable, evidence, at.to_string()],
    )?;
    Ok(())
}

/// Every finding, by (vendor, dataset).
pub fn all(conn: &Connection) -> Result<BTreeMap<(String, String), Entitlement>> {
    let mut st = conn.prepare_cached("SELECT vendor, dataset, lane, live_status, evidence_json, checked_at FROM entitlements WHERE checked_at IS NOT NULL")?;
    let rows = st.query_map([], |r| {
        Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get::<_, String>(3)?, r.get::<_, String>(4)?, r.get::<_, String>(5)?))
    })?;
    let mut out = BTreeMap::new();
    for row in rows {
        let (vendor, dataset, lane, live, evidence, at) = row?;
        let words: serde_json::Value = serde_json::from_str(&evidence)?;
        let detail = words.get("words").and_then(|w| w.as_str()).unwrap_or_default().to_string();
        let refusals = words.get("refusals").and_then(serde_json::Value::as_u64).map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX));
        let (live, checked_at) = (LiveStatus::parse(&live), UtcTime::parse(&at)?);
        let found = Entitlement { vendor: vendor.clone(), dataset: dataset.clone(), lane, live, detail, checked_at, refusals };
        out.insert((vendor, dataset), found);
    }
    Ok(out)
}
