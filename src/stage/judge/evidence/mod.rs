//! Evidence: what is known to sway judges, measured.
//!
//! | file | holds |
//! |---|---|
//! | `position` `length` `halo` | effects of a completion's place, of its length, and of one criterion on another |
//! | `canary` | texts whose right verdict is known before a judge sees them |
//! | `panel` | whether judges agree, and what the number would be without each of them |
//! | `lineage` | whether a judge is kin of the models that it judges |
//! | `contrast` `drift` | shares of the ceiling and preferences for kin; verdicts that a changed instrument gives otherwise |

pub(crate) mod canary;
pub(crate) mod contrast;
pub(crate) mod drift;
mod halo;
pub(crate) mod length;
pub(crate) mod lineage;
pub(crate) mod panel;
pub(crate) mod position;

pub(crate) use halo::Halo;
