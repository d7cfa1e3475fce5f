//! etalon tells teams who fine-tune language models whether the new model is really better.
//!
//! A pipeline written in YAML declares a graph of dataset, inference, metric and judge stages. A run
//! resolves it, digests everything that can change a result, and computes and buys only what changed.
//! This page is the map of the code; the header of each module tells the rest.
//!
//! # The flow
//!
//! ```text
//! arguments ─ cli ─┬─ spec::load ──── PipelineSpec   what the user wrote, with the place of every value
//!                  ├─ plan::resolve ─ Plan           nodes (stage × model) in order, checked
//!                  ├─ Session ─────── fingerprints, lookups, desks that buy (or only count)
//!                  ├─ execute::run ── events, Run               execute::forecast ─ what would run
//!                  ├─ Records ─────── the Run as a file in runs/
//!                  └─ report ──────── text, JSON
//! ```
//!
//! Each arrow is one public function. Each value is plain data, finished before the next step begins.
//!
//! # The layers
//!
//! A module uses only modules that stand above it in this table. Modules in one row do not know each other, except
//! those of the first row. A test (`tests/it/house.rs`) holds this.
//!
//! | module | holds |
//! |---|---|
//! | [`digest`] · [`outcome`] · [`row`] · [`score`] · [`problem`] | the words that everyone uses; no I/O |
//! | [`files`] · [`process`] · [`net`] | files written whole, globs · programs that are run · HTTP clients |
//! | [`stats`] · [`text`] · [`encoder`] | pure functions on numbers · on texts · vectors of texts |
//! | [`template`] | Jinja: loading with all includes, knowing what is read, rendering |
//! | [`spec`] | YAML and TOML to a tree with positions, and on to typed values |
//! | [`dataset`] · [`provider`] · [`metric`] · [`store`] · [`record`] | readers of rows · ways to reach models · scores · the cache · documents of runs |
//! | [`label`] | what people said of rows: one line format, files, sheets |
//! | [`stage`] | the stage kinds; the desk that buys completions; concurrent work on rows |
//! | [`plan`] | from a spec to nodes, or to everything that is wrong with it |
//! | [`execute`] | runs and forecasts: look (key to hit or miss), make, reasons, gates |
//! | [`compare`] | two runs side by side: differences with intervals, rows that changed |
//! | [`diagnose`] · [`training`] | what is wrong with a model, where it is weakest, what helps · examples to train with |
//! | [`report`] | the view of a run, tables, problems, lines |
//! | [`cli`] | one file per command |
//!
//! # Adding a …
//!
//! A new member is one file (or folder), one line in the table of its directory's `mod.rs`, and its tests. The header
//! of that `mod.rs` tells the details, also where a further file is touched.
//!
//! | member | table |
//! |---|---|
//! | reader | [`dataset::FORMATS`] |
//! | symptom | `diagnose::symptom::SYMPTOMS` |
//! | provider | [`provider::PROVIDERS`] |
//! | metric | [`metric::METRICS`] |
//! | stage kind | [`stage::KINDS`] |
//! | judge method | `METHODS` in `stage/judge/method` |
//! | command | `Command` in `cli` |
//!
//! The schema and the pages in `docs/` that are generated follow from the tables: `UPDATE_DOCS=1 cargo test docs`
//! writes them.
//!
//! # How a result is found again
//!
//! A node's [`store::Fingerprint`] names everything that can change its output: kind and revision, settings, the
//! content of every template that a render can reach, identity and options of models, and the digests of those
//! *columns* of its inputs that it reads. The digest of the fingerprint is the key. A key leads to a manifest, and the
//! manifest to artifacts and to the summary. Keys hold digests of content, not the keys of inputs: if a node ran again
//! and made the same rows, everything behind it stays cached.
//!
//! Inside a node that runs, two things save work. Rows whose inputs did not change are taken over from the node's last
//! result. Each other request (model identity, exact wire body, sample) has a key of its own in the completion log, so
//! that only new requests are sent.
//!
//! # Invariants
//!
//! 1. A reply is in the completion log before anyone sees it ([`stage`], `desk`).
//! 2. A manifest is written only after its artifacts, and both by rename ([`store`]).
//! 3. Digests are verified on reading: damage is a miss, never a wrong result ([`store`], [`execute`]).
//! 4. Rows stand sorted by id: order is not content ([`row`]).
//! 5. A render reads its closure and its variables, nothing else ([`template`]).
//! 6. `plan` and `run` complete a fingerprint by the same function ([`execute`]).
//! 7. What failed or could not be read is missing and counted, never a score ([`metric`], [`stage`]).
//! 8. API keys come from the environment, and reach no file and no message ([`provider`]).
//! 9. Only [`cli`] prints.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod compare;
pub mod dataset;
pub mod diagnose;
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
pub mod training;
