//! The product: six guided wizards over shared engine modules.

pub mod kit;
