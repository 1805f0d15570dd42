//! The product: six guided wizards over shared engine modules.

pub mod dashboard;
pub mod kit;
