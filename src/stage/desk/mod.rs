//! The desk buys completions. A request whose reply is in the completion log is answered from there; any other is sent
//! to the model, once.
//!
//! ```text
//! ask → log? → (one asker per request) → buyer's lock → log again? → can it succeed? → budget → pool → log → reply
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `account` | what one node buys from one model |
//! | `batcher` | requests that are sent as batches |
//! | `counter` | one model: its log, who may ask it |
//! | `preflight` | what is checked before a node buys for the first time |
//! | `tab` | calls and tokens, counted |
//! | `budget` | dollars that a run may spend |
//! | `recorder` | what models said, as a file to replay |
//! | `quote` | what calls will cost that are not bought yet |
//!
//! One process buys from a model at a time: the first miss of a node takes the OS lock of the model
//! and reads what others have bought meanwhile. So two runs in one workspace never pay for the same
//! request, and the model's concurrency holds across processes.
//!
//! **Invariant:** a reply is in the log before anyone sees it.

mod account;
mod batcher;
mod budget;
mod counter;
mod preflight;
mod quote;
mod recorder;
mod tab;

pub use account::{Account, Bought, Buyer, Waiting};
pub use budget::Budget;
pub use counter::{Desk, Mode};
pub use preflight::{Checked, Preflight, Unready};
pub use quote::Quote;
pub use recorder::Recorder;
