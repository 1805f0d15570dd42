//! Labels: what a model is asked to foresee, and from which session to which each answer reaches.

pub mod horizon;
pub mod triple_barrier;
pub mod weights;
