//! From scores to target weights to order sizes: the one path that backtest, shadow and paper share.
//!
//! `targets` makes raw sleeve weights from a cross-section of scores, [`construct`] builds the book that can be held under the caps of
//! [`limits`] and whatever else its configuration asks for (volatility, Kelly, sectors, borrow tiers, turnover, lots, the barbell) and
//! says which limit bound, `delta` turns it into share quantities against what is already held.

pub mod linear;
pub mod projection;
pub mod barbell;
pub mod limits;
pub mod sizing;
pub mod construct;
pub mod schedule;
pub mod rule;
pub mod delta;

pub(crate) use crate::types::SESSIONS_PER_YEAR;
pub use construct::{Bound, Construction};
pub use delta::{DeltaInput, DeltaLine, DeltaPlan, Reason, Skipped, delta};
pub use limits::{Binding, Ceiling, Limited, Limits};
pub use rule::{Excluded, Rule, RuleConfig, Targets, targets};
pub use schedule::Schedule;
