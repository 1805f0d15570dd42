//! What the runbooks' steps do: thin bridges from a wizard's words to the modules below.

pub mod keys;
pub mod node;
pub mod node_setup;
pub mod preamble;
pub mod screens;
pub mod unfinished;
pub mod world;

#[cfg(feature = "research")]
pub mod judging;
#[cfg(feature = "research")]
pub mod market;
#[cfg(feature = "research")]
pub mod mirror;
#[cfg(feature = "research")]
pub mod paper;
#[cfg(feature = "research")]
pub mod service;
#[cfg(feature = "research")]
pub mod shadowing;
#[cfg(feature = "research")]
pub mod summary;
#[cfg(feature = "research")]
pub mod training;
