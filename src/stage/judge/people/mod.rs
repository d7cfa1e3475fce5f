//! People: what they said about rows, how far the judge agrees with them, and numbers corrected by their labels.
//!
//! | file | holds |
//! |---|---|
//! | `labels` | the labels of a stage, and what each is about |
//! | `calibration` `agreement` | the judge's verdicts compared with people's; how far they agree |
//! | `correction` | the judge's numbers, corrected for its errors |

mod agreement;
pub(crate) mod calibration;
mod correction;
pub(crate) mod labels;
