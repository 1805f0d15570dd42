//! What the wizards' acts and the headless commands call: whole steps, each resumable. Here models, backtest and gates meet.

pub mod config;
pub mod panel;
pub mod world_panel;
pub mod prepare;
pub mod train;
pub mod trial_stats;
pub mod splits;
pub mod simple;
pub mod controls;
pub mod forecasts;
pub mod moved;
pub mod stacking;
pub mod study;
pub mod bandit;
pub mod search;
pub mod cv;
pub mod recall;
pub mod holdout;
pub mod fit;
pub mod rerun;
pub mod score;
pub mod route;
pub mod confidence;
pub mod evaluate;
pub mod promote;
pub mod retrain;
pub mod shadow_day;
pub mod paper_day;
pub mod parity;
pub mod replay;
pub mod nightly;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod controls_tests;
#[cfg(test)]
mod honesty_tests;
#[cfg(test)]
mod tests;
