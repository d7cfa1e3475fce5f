//! All integration tests, in one binary, so that only one has to be compiled.
//!
//! The tests run the built `etalon` in temporary workspaces against a counting server on loopback.

mod agreement;
mod batch;
mod cache;
mod chains;
mod check;
mod compare;
mod consent;
mod data;
mod defended;
mod diagnose;
mod docs;
mod everyday;
mod explain;
mod faults;
mod fingerprint;
mod gates;
mod golden;
mod house;
mod init;
mod judging;
mod kept;
mod litellm;
mod metrics;
mod paid;
mod panels;
mod properties;
mod quality;
mod record;
mod replies;
mod run;
mod simulated;
mod store;
mod support;
mod training;
mod trust;
mod vectors;
