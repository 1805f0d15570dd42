//! The budgets as a person wants to read them: spent, limit, when it begins again, what was held back.

use super::{Limits, Per, active, effective_cap, frozen};
use crate::error::Result;
use crate::time::UtcTime;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

/// One window of one vendor at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    pub vendor: String,
    pub window: &'static str,
    pub spent: u64,
    /// Configured or learned, whichever is less; `None` where the vendor states no limit for this window.
    pub limit: Option<u64>,
    /// When counting begins again; `None` before the first call of a window that slides.
    pub resets_at: Option<UtcTime>,
    /// Calls that our own ledger did not let go.
    pub held_back: u64,
    /// Calls that the vendor refused for their rate.
    pub refused: u64,
    /// Until when nothing is asked, and why.
    pub frozen: Option<(UtcTime, String)>,
}

/// Every window of an hour and longer; without a daily one, what was counted today.
pub fn standings(conn: &Connection, now: UtcTime, limits: &Limits) -> Result<Vec<Standing>> {
    let frozen = frozen(conn, now, &limits.vendor)?;
    let mut windows: Vec<(Per, Option<u64>)> = Vec::new();
    for spec in limits.windows.iter().filter(|w| w.per.durable()) {
        windows.push((spec.per, Some(effective_cap(conn, now, &limits.vendor, *spec)?)));
    }
    if !windows.iter().any(|(per, _)| *per == Per::Day) {
        windows.push((Per::Day, None));
    }
    let mut out = Vec::new();
    for (per, limit) in windows {
        let window = active(conn, now, limits, per)?;
        let counts: Option<(i64, i64)> = conn
            .query_row(
                "SELECT local_blocked, remote_limited FROM budget_spend WHERE vendor = ?1 AND window = ?2 AND window_start = ''",
                params![limits.vendor, per.as_str()],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .optional()?;
        let (held_back, refused) = counts.map_or((0, 0), |(held, refused)| (held.unsigned_abs(), refused.unsigned_abs()));
        let resets_at = (window.known_reset || window.spent > 0).then_some(window.end);
        out.push(Standing {
            vendor: limits.vendor.clone(),
            window: per.as_str(),
            spent: window.spent,
            limit,
            resets_at,
            held_back,
            refused,
            frozen: frozen.clone(),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Reset, Slices, WindowSpec, spend};
    use crate::queue::Kind;

    #[test]
    fn spending_shows_with_its_limit_and_its_reset() {
        let kit = crate::testkit::Kit::new();
        let limits = Limits {
            vendor: "alpha_vantage".into(),
            windows: vec![WindowSpec { per: Per::Minute, calls: 5 }, WindowSpec { per: Per::Day, calls: 25 }],
            reset: Reset::EasternMidnight,
            slices: Slices::default(),
        };
        let now = UtcTime::parse("2026-11-20T23:00:00Z").unwrap();
        for _ in 0..3 {
            kit.db.write(|tx| spend(tx, now, &limits, Kind::Forward, 1)).unwrap();
        }
        let seen = standings(&kit.db.lock().unwrap(), now, &limits).unwrap();
        assert_eq!(seen.len(), 1, "a minute is not worth a line");
        assert_eq!((seen[0].spent, seen[0].limit, seen[0].window), (3, Some(25), "day"));
        assert_eq!(seen[0].resets_at.unwrap().to_string(), "2026-11-21T05:00:00.000000Z");
    }
}
