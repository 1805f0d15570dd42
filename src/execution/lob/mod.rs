//! Limit order books: one that matches orders by price and then time, and the shape that stands in for one where nobody recorded it.

pub mod matching;
pub mod walk;
