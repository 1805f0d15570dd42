//! What happens to orders: what they cost and what they leave in the account.

pub mod cost;
pub mod account;
