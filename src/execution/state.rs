//! The state of an order as the maximum of a total order over all reports about it.
//!
//! A maximum commutes: whatever the order, duplication or delay of the reports, the result is the same. The key is
//! `(class, broker stamp, rank, filled quantity, source, name)`: class first (open, terminal, filled), then time.

use super::order::Tif;
use data_layer::time::UtcTime;
use serde::{Deserialize, Serialize};

/// Names of the states that we write ourselves.
pub mod name {
    pub const PLANNED: &str = "planned";
    pub const INTENDED: &str = "intended";
    pub const DRY_RUN: &str = "dry_run";
    pub const UNCONFIRMED: &str = "submitted_unconfirmed";
    pub const REJECTED: &str = "rejected";
    pub const FILLED: &str = "filled";
    pub const NEVER_REACHED: &str = "never_reached";
    pub const DROPPED: &str = "dropped";
    pub const BLOCKED_KILL_SWITCH: &str = "blocked_kill_switch";
    pub const BLOCKED_CIRCUIT_BREAKER: &str = "blocked_circuit_breaker";
}

/// Who says so; a later one wins a tie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// This program or its operator: no broker stands behind it.
    Manual,
    /// An answer to a question of ours (POST, look-up, reconcile).
    Reconcile,
    /// The broker's push channel.
    Stream,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Reconcile => "reconcile",
            Self::Stream => "stream",
        }
    }
    fn weight(self) -> u8 {
        match self {
            Self::Manual => 1,
            Self::Reconcile => 2,
            Self::Stream => 3,
        }
    }
}

/// Orders compare field by field, from the top.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateKey {
    /// 0 open, 1 terminal, 2 filled.
    pub class: u8,
    /// Microseconds; `None` for our own inferences, which any broker report beats.
    pub stamp: Option<i64>,
    pub rank: u8,
    pub filled_nano: i64,
    pub source: u8,
    pub name: String,
}

/// Class and rank of a status; `None` for a name that no specification lists.
pub fn class_and_rank(status: &str, tif: Tif) -> Option<(u8, u8)> {
    Some(match status {
        "planned" | "intended" | "dry_run" => (0, 1),
        "submitted_unconfirmed" | "submitted" | "accepted" | "pending_new" | "new" | "held" | "accepted_for_bidding" => (0, 2),
        "pending_cancel" | "pending_replace" | "calculated" | "stopped" | "suspended" | "partially_filled" => (0, 3),
        "done_for_day" if tif == Tif::Gtc => (0, 3),
        "canceled" | "expired" | "rejected" | "replaced" | "done_for_day" => (1, 4),
        "never_reached" | "dropped" | "blocked_kill_switch" | "blocked_circuit_breaker" => (0, 4),
        "filled" => (2, 5),
        _ => return None,
    })
}

/// Ended by our own inference.
pub fn closed_locally(status: &str) -> bool {
    matches!(status, "never_reached" | "dropped" | "blocked_kill_switch" | "blocked_circuit_breaker" | "dry_run")
}

/// Nothing more is expected to happen.
pub fn is_closed(status: &str, tif: Tif) -> bool {
    closed_locally(status) || class_and_rank(status, tif).is_some_and(|(class, _)| class > 0)
}

/// Written, and therefore possibly sent, but the broker has not been heard.
pub fn is_unknown(status: &str) -> bool {
    matches!(status, "intended" | "submitted_unconfirmed")
}

/// The key of a report; `None` for an unknown status (kept as a report, never applied).
pub fn key_of(status: &str, tif: Tif, stamp: Option<UtcTime>, filled_qty: f64, source: Source) -> Option<StateKey> {
    let (class, rank) = class_and_rank(status, tif)?;
    let stamp = match (source, stamp) {
        (Source::Manual, _) => None,
        // A broker's report without a stamp is the lowest of the broker's, and still above our own inference.
        (_, stamp) => Some(stamp.map_or(i64::MIN, UtcTime::micros)),
    };
    Some(StateKey { class, stamp, rank, filled_nano: nano(filled_qty), source: source.weight(), name: status.to_string() })
}

/// Shares in units of 1e-9, the finest that a broker reports.
fn nano(qty: f64) -> i64 {
    (qty * 1e9).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: &[&str] = &[
        "planned",
        "intended",
        "submitted_unconfirmed",
        "accepted",
        "new",
        "partially_filled",
        "pending_cancel",
        "canceled",
        "expired",
        "rejected",
        "done_for_day",
        "never_reached",
        "dropped",
        "filled",
    ];

    #[test]
    fn any_broker_report_beats_our_own_inference() {
        let ours = key_of("never_reached", Tif::Day, None, 0.0, Source::Manual).unwrap();
        for name in ["new", "accepted", "partially_filled", "canceled", "filled"] {
            assert!(key_of(name, Tif::Day, None, 0.0, Source::Reconcile).unwrap() > ours, "{name}");
        }
    }

    #[test]
    fn a_late_open_report_never_reopens_a_terminal_one_and_filled_is_final() {
        let t = |s| Some(UtcTime::from_micros(s));
        let canceled = key_of("canceled", Tif::Day, t(5), 0.0, Source::Reconcile).unwrap();
        assert!(canceled > key_of("new", Tif::Day, t(9), 0.0, Source::Stream).unwrap());
        assert!(key_of("filled", Tif::Day, t(1), 5.0, Source::Reconcile).unwrap() > canceled);
        assert!(class_and_rank("done_for_day", Tif::Day).unwrap().0 == 1 && class_and_rank("done_for_day", Tif::Gtc).unwrap().0 == 0);
        assert!(key_of("brand_new_status", Tif::Day, t(1), 0.0, Source::Stream).is_none());
    }

    proptest! {
        #[test]
        fn lesson_103_every_permutation_and_duplication_of_reports_ends_the_same(
            reports in prop::collection::vec((0..NAMES.len(), prop::option::of(0i64..6), 0u8..4, 0u8..3), 1..12),
            shuffle in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        ) {
            let keys: Vec<StateKey> = reports.iter().map(|(n, at, filled, source)| {
                let source = [Source::Manual, Source::Reconcile, Source::Stream][usize::from(*source)];
                key_of(NAMES[*n], Tif::Day, at.map(UtcTime::from_micros), f64::from(*filled), source).unwrap()
            }).collect();
            let once = keys.iter().max().unwrap().clone();
            // Any arrival order with repeats, as long as each report arrives at least once.
            let mut arrivals: Vec<&StateKey> = shuffle.iter().map(|i| i.get(&keys)).collect();
            arrivals.extend(keys.iter().rev());
            let mut state: Option<StateKey> = None;
            for key in arrivals {
                if state.as_ref().is_none_or(|s| key > s) {
                    state = Some(key.clone());
                }
            }
            prop_assert_eq!(state.unwrap(), once);
        }
    }
}
