//! Evidence: what is known to sway judges, measured.
//!
//! | file | holds |
//! |---|---|
//! | `position` `length` `halo` | the place of a response, its length, one criterion colouring another |
//! | `canary` | answers whose worth is known before a judge sees them |
//! | `panel` | whether judges agree, and what the number is without each of them |
//! | `lineage` | whether a judge is kin of what it judges |
//! | `contrast` `drift` | shares of the ceiling and preferences for kin; what a judge says that it did not say before |

pub(crate) mod canary;
pub(crate) mod contrast;
pub(crate) mod drift;
mod halo;
pub(crate) mod length;
pub(crate) mod lineage;
pub(crate) mod panel;
pub(crate) mod position;

pub(crate) use halo::Halo;
