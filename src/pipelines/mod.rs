//! What the wizards call: whole steps, each resumable.

pub mod shadow_day;
pub mod paper_day;
