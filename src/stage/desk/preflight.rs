//! What is checked before a node buys for the first time.
//!
//! The models are checked that the node calls, and those that will be asked about what it makes: so a key that only the
//! judge lacks is reported before the first row is paid. And what the node reads is read once whole: nothing is bought
//! for texts that are not what they were.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::OnceCell;

use super::Desk;
use crate::problem::Place;
use crate::stage::StageError;
use crate::store::{Artifact, Store, StoreError};

/// A model that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// Its names in the spec.
    pub models: Vec<String>,
    /// Why, with the names.
    pub message: String,
}

/// Why a node buys nothing.
#[derive(Clone, Debug)]
enum Stopped {
    /// A model that it calls cannot be asked.
    Own(String),
    /// A model that is asked about what it makes cannot be asked.
    Behind(Unready),
    Damaged(crate::digest::Digest, String),
    Unreadable(String),
}

/// A desk that is checked.
pub struct Checked {
    pub desk: Arc<Desk>,
    /// The models that it serves, each with the place where it is declared.
    pub models: Vec<(String, Option<Place>)>,
    /// The node itself calls it.
    pub is_own: bool,
}

/// The check of what a node needs to buy.
pub struct Preflight {
    desks: Vec<Checked>,
    store: Arc<Store>,
    inputs: Vec<Artifact>,
    done: OnceCell<Result<(), Stopped>>,
}

impl Preflight {
    /// Returns the check of these desks and inputs, which has not been made yet.
    pub fn new(desks: Vec<Checked>, store: &Arc<Store>, inputs: Vec<Artifact>) -> Preflight {
        Preflight { desks, store: store.clone(), inputs, done: OnceCell::new() }
    }

    /// Checks what is to be checked, once. Returns why no call to the node's own models can succeed, if that is so.
    ///
    /// # Errors
    ///
    /// A model that is to be asked about what the node makes cannot be asked; or an input is damaged.
    pub(super) async fn check(&self) -> Result<Option<String>, StageError> {
        let done = self.done.get_or_init(|| async {
            self.check_inputs().await?;
            self.check_desks().await
        });
        match done.await {
            Ok(()) => Ok(None),
            Err(Stopped::Own(message)) => Ok(Some(message.clone())),
            Err(Stopped::Behind(unready)) => Err(StageError::Behind(unready.clone())),
            Err(Stopped::Damaged(digest, reason)) => {
                Err(StoreError::Corrupt { digest: *digest, reason: reason.clone() }.into())
            }
            Err(Stopped::Unreadable(message)) => Err(StageError::Failed(message.clone())),
        }
    }

    async fn check_inputs(&self) -> Result<(), Stopped> {
        let (store, inputs) = (self.store.clone(), self.inputs.clone());
        let verified = tokio::task::spawn_blocking(move || inputs.iter().try_for_each(|input| store.verify(input)));
        match verified.await.expect("reading does not panic") {
            Ok(()) => Ok(()),
            Err(StoreError::Corrupt { digest, reason }) => Err(Stopped::Damaged(digest, reason)),
            Err(error) => Err(Stopped::Unreadable(error.to_string())),
        }
    }

    async fn check_desks(&self) -> Result<(), Stopped> {
        let checks = self.desks.iter().map(|checked| async move {
            let message = checked.desk.preflight().await.err()?;
            Some((&checked.models, checked.is_own, message))
        });
        let failed: Vec<_> = join_all(checks).await.into_iter().flatten().collect();
        // Models that fail for the same reason share a message.
        let told = |is_meant: &dyn Fn(bool) -> bool| {
            let mut messages: Vec<(&String, Vec<String>)> = Vec::new();
            for (models, _, error) in failed.iter().filter(|(_, is_own, _)| is_meant(*is_own)) {
                let names = models.iter().map(|(name, place)| named(name, place.as_ref()));
                match messages.iter_mut().find(|(message, _)| *message == error) {
                    Some((_, known)) => known.extend(names),
                    None => messages.push((error, names.collect())),
                }
            }
            let line = |(message, names): (&String, Vec<String>)| format!("{}: {message}", names.join(", "));
            messages.into_iter().map(line).collect::<Vec<_>>().join("; ")
        };
        if failed.iter().any(|(_, is_own, _)| *is_own) {
            return Err(Stopped::Own(told(&|is_own| is_own)));
        }
        if failed.is_empty() {
            return Ok(());
        }
        let models = failed.iter().flat_map(|(models, _, _)| models.iter().map(|(name, _)| name.clone())).collect();
        Err(Stopped::Behind(Unready { models, message: told(&|_| true) }))
    }
}

/// Returns a model's name with the place where it is declared.
pub(super) fn named(name: &str, place: Option<&Place>) -> String {
    match place.filter(|place| !place.source.path.is_empty()) {
        Some(place) => format!("model {name} ({}:{})", place.source.path, place.line_column().0),
        None => format!("model {name}"),
    }
}
