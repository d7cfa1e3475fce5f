//! etalon tells teams who fine-tune language models whether the new model is really better.
//!
//! A pipeline written in YAML declares a graph of dataset, inference, metric and judge stages. A run
//! resolves it, digests everything that can change a result, and computes and buys only what changed.
//! This page is the map of the house; each module's header tells the rest.
//!
//! # The flow
//!
//! ```text
//! arguments ─ cli ─┬─ spec::load ──── PipelineSpec   what the user wrote, with the place of every value
//!                  ├─ plan::resolve ─ Plan           nodes (stage × model) in order, checked
//!                  ├─ Session ─────── fingerprints, lookups, desks that buy (or only count)
//!                  ├─ execute::run ── events, Run               execute::forecast ─ what would run
//!                  └─ report ──────── text, JSON
//! ```
//!
//! Each arrow is one public function, each value plain data that is finished before the next step
//! begins. The layers below use only what stands above them in this table; siblings in one line do
//! not know each other; a test holds it.
//!
//! | module | holds |
//! |---|---|
//! | [`digest`] [`row`] [`score`] [`problem`] | the words everyone uses; no I/O |
//! | [`files`] · [`process`] · [`net`] | files written whole, globs · programs that are run · HTTP clients |
//! | [`stats`] · [`text`] · [`encoder`] | pure functions on numbers · on texts · vectors of texts |
//! | [`template`] | Jinja: load with closure, know what is read, render |
//! | [`spec`] | YAML and TOML to a tree with positions to typed values |
//! | [`dataset`] · [`provider`] · [`metric`] · [`store`] · [`record`] | readers · models · scores · the cache · documents of runs |
//! | [`stage`] | the stage kinds; the desk that buys completions; rows through concurrent work |
//! | [`plan`] | from a spec to nodes, with everything that is wrong with it |
//! | [`execute`] | runs and forecasts; reasons; gates |
//! | [`report`] | the view of a run, tables, problems, lines |
//! | [`cli`] | one file per command |
//!
//! Adding a reader, provider, metric, judge method or stage kind is one file and one line in the
//! table of its directory's `mod.rs`, whose header says how.
//!
//! # How a result is found again
//!
//! A node's [`store::Fingerprint`] names everything that can change its output: kind and revision,
//! settings, the content of every template a render can reach, model identity and options, and the
//! digests of the *columns* that it reads of its inputs. Its digest is the key; a key leads to a
//! manifest, a manifest to artifacts and to the summary. Keys hold digests of content, not upstream
//! keys: a node that ran again and made the same rows leaves everything after it cached.
//!
//! Inside a node that runs, each request (model identity, exact wire body, sample) has a key of its
//! own in the completion log, so that only new requests are sent.
//!
//! # Invariants
//!
//! 1. A reply is in the completion log before anyone sees it ([`stage`]`::desk`).
//! 2. A manifest is written only after its artifacts, both by rename ([`store`]).
//! 3. Digests are verified on reading: damage is a miss, never a wrong result ([`store`], [`execute`]).
//! 4. Rows stand sorted by id: order is not content ([`row`]).
//! 5. A render reads its closure and its variables, nothing else ([`template`]).
//! 6. `plan` and `run` complete a fingerprint by the same function ([`execute`]).
//! 7. What failed or could not be read is missing and counted, never a score ([`metric`], [`stage`]).
//! 8. Keys (API keys) come from the environment and reach no file and no message ([`provider`]).
//! 9. Only [`cli`] prints.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod dataset;
pub mod digest;
pub mod encoder;
pub mod execute;
pub mod files;
pub mod label;
pub mod metric;
pub mod net;
pub mod outcome;
pub mod plan;
pub mod problem;
pub mod process;
pub mod provider;
pub mod record;
pub mod report;
pub mod row;
pub mod score;
pub mod spec;
pub mod stage;
pub mod stats;
pub mod store;
pub mod template;
pub mod text;
