//! Models: what they are on the drive, which one is champion, and how they score a cross-section.

pub mod artifact;
pub mod baseline;
pub mod gbdt;
pub mod holdouts;
pub mod mlflow;
pub mod onnx;
pub mod rank;
pub mod registry;
pub mod ridge;
pub mod router;
pub mod shadow_days;
pub mod stacker;
pub mod trials;
