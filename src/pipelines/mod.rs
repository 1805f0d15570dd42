//! What the wizards call: whole steps, each resumable.

pub mod paper_day;
