//! From scores to target weights to order sizes: the one path that backtest, shadow and paper share.
//!
//! `targets` makes raw sleeve weights from a cross-section of scores, [`limits::apply`] shrinks them under the caps and
//! says which one bound, `delta` turns them into share quantities against what is already held. [`sizing`] and [`construct`] are for
//! books that ask for more: Kelly fractions, volatility and turnover limits, sectors, borrow tiers, lots, the barbell.

pub mod linear;
pub mod projection;
pub mod barbell;
pub mod limits;
pub mod rule;
pub mod delta;
pub mod sizing;
pub mod construct;

/// Sessions in a year, for everything annual.
pub(crate) const SESSIONS_PER_YEAR: f64 = 252.0;

pub use delta::{DeltaInput, DeltaLine, DeltaPlan, Reason, Skipped, delta};
pub use limits::{Binding, Limited, Limits};
pub use rule::{Excluded, Rule, RuleConfig, Targets, targets};
