//! Tokens of grants: served while they live, renewed once, in time, and by one task for all who wait.

pub mod due;
pub mod flight;
