//! People: what they said of rows, the judge held against them, and numbers corrected by them.
//!
//! | file | holds |
//! |---|---|
//! | `labels` | labels of a stage, and what they are about |
//! | `calibration` `agreement` | the judge's verdicts beside people's; how far they agree |
//! | `correction` | what its numbers are once its errors are counted |

mod agreement;
pub(crate) mod calibration;
mod correction;
pub(crate) mod labels;
