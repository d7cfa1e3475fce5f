//! Statistics: pure functions on numbers. No I/O, no clock, no randomness without a seed.
//!
//! | file | holds |
//! |---|---|
//! | `interval` | Wilson, normal, percentile bootstrap, order statistics |
//! | `classification` | confusion table, precision, recall, F1 and their averages, bootstrap of the table |

mod classification;
mod interval;

pub use classification::{Average, Confusion, LabelScores, Report};
pub use interval::{Interval, bootstrap_mean, mean_interval, normal_mean, quantile, quantile_interval, wilson};

/// The 0.975 quantile of the standard normal: 95 % intervals everywhere.
pub const Z95: f64 = 1.959_963_984_540_054;
