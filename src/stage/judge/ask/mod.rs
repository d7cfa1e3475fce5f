//! Asking: what judges are shown and how often, until a reply can be read.
//!
//! | file | holds |
//! |---|---|
//! | `work` | a task becomes prompts, replies, readings, votes and one judgement |
//! | `truncate` | long candidates cut, both alike |

mod truncate;
mod work;

pub(crate) use truncate::Truncate;
pub(crate) use work::{JSON_SCHEMA, Work};
