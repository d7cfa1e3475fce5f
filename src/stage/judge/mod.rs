//! `judge`: a model that grades completions.
//!
//! ```text
//! row × sample → task → questions → render (twice, where the prompt reads `tag`) → ask → read
//!                                          ↑ a new turn that quotes the error ──┘ unreadable
//!             → judgement → tally
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the stage as it is written |
//! | `node` `checks` `key` `values` | the stage: nodes, what is wrong with it, what it depends on, what it says |
//! | `method/` | rubric, compare (pairs), classify: what is asked, what a reply means, how verdicts sum up |
//! | `task` `tasks` `kept` | what is judged, in what order; judgements of rows that did not change |
//! | `ask/` | prompts, retries, votes |
//! | `read/` | what a reply says |
//! | `produce` | tasks through the work, into rows and a summary |
//! | `evidence/` | what is known to sway judges, measured; drift |
//! | `people/` | people's labels, and the judge held against them |
//!
//! The tag is the first eight hex digits of the digest of the request without it: the same on every
//! run, unknown to a candidate. Raw replies are in the completion log, so that reading them anew
//! costs nothing. **Invariant:** what cannot be read is missing, never a score.
//!
//! **Adding a judge method:** see `method/`.

mod ask;
mod checks;
mod evidence;
mod kept;
mod key;
mod method;
mod node;
mod people;
mod produce;
pub mod read;
mod settings;
mod task;
mod tasks;
mod values;

pub(super) use settings::{Settings, parse};
