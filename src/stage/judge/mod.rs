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
//! | `settings` | the settings of the stage |
//! | `node` `checks` `key` `values` | the stage: its nodes, what can be wrong, what it depends on, the values of its summary |
//! | `method/` | rubric, compare (pairs), classify: what is asked, what a reply means, how verdicts sum up |
//! | `task` `tasks` `kept` | what is judged, in which order; judgements of unchanged rows |
//! | `ask/` | prompts, retries, votes |
//! | `read/` | what a reply says |
//! | `produce` | sends tasks through `ask/` and turns the judgements into rows and a summary |
//! | `evidence/` | what is known to sway judges, measured; drift; kin |
//! | `people/` | people's labels, and how far the judge agrees with them |
//!
//! The tag is the first eight hex digits of the digest of the request without the tag. It is the same in every run, and
//! a candidate cannot know it. Raw replies are in the completion log, so that reading them again by new rules costs
//! nothing.
//!
//! **Invariant:** a reply that cannot be read is missing, never a score.
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
