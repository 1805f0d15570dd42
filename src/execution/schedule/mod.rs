//! How a parent order is spread over time: Almgren and Chriss's optimal trajectory, TWAP under a participation cap, and the cut of a
//! pinned order into slices with their moments.

pub mod almgren_chriss;
pub mod twap;
pub mod cut;
