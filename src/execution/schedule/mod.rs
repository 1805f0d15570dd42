//! How a parent order is spread over time: Almgren and Chriss's optimal trajectory, and TWAP under a participation cap.

pub mod almgren_chriss;
pub mod twap;
