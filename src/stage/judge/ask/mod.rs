//! Asking judges: what they are shown, and how often they are asked, until a reply can be read.
//!
//! | file | holds |
//! |---|---|
//! | `work` | a task becomes prompts, replies, readings, votes and one judgement |
//! | `truncate` | long candidates cut to one length, both sides alike |

mod truncate;
mod work;

pub(crate) use truncate::Truncate;
pub(crate) use work::{JSON_SCHEMA, Work};
