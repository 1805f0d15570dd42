//! What the wizards call: whole steps, each resumable.

pub mod shadow_day;
pub mod paper_day;
//! Where models, backtest and gates meet: what the wizards' acts and the headless commands call.

pub mod config;
pub mod cv;
pub mod evaluate;
pub mod fit;
pub mod panel;
pub mod prepare;
pub mod promote;
pub mod score;
pub mod train;
pub mod trial_stats;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
