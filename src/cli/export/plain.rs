//! Rows that are meant, and rows as `show` prints them.

use std::io;

use serde_json::{Map, Value};

use super::choose::Chosen;
use crate::cli::exit::Exit;
use crate::cli::filter::Filter;
use crate::execute::{self, Found, Session, ShownRow};

/// Documents to write.
pub(super) trait Documents {
    /// Calls `take` with each document.
    fn each(&self, take: &mut dyn FnMut(&Map<String, Value>) -> io::Result<()>) -> Result<(), Exit>;

    /// Says what is not among the documents, and why.
    fn tell(&self) {}
}

/// The rows of the selected nodes that are meant.
pub(super) struct Rows<'a> {
    pub session: &'a Session,
    pub found: &'a [(usize, Found)],
    pub with_meta: bool,
    pub filter: Option<Filter>,
    pub chosen: Option<Chosen>,
}

/// What is called with each row: its node, the row, its document.
pub(super) type Take<'a> = &'a mut dyn FnMut(usize, &ShownRow, &Map<String, Value>) -> io::Result<()>;

/// Rows one below the other.
pub(super) struct Plain<'a>(pub Rows<'a>);

impl Documents for Plain<'_> {
    fn each(&self, take: &mut dyn FnMut(&Map<String, Value>) -> io::Result<()>) -> Result<(), Exit> {
        self.0.each(&mut |_, _, document| take(document))
    }
}

impl Rows<'_> {
    /// Calls `take` with each row that is meant.
    pub fn each(&self, take: Take<'_>) -> Result<(), Exit> {
        for (index, found) in self.found {
            let (mut failure, mut problem) = (None, None);
            execute::each_row(self.session, *index, found, |row| {
                if self.chosen.as_ref().is_some_and(|chosen| !chosen.holds(*index, &row.row.id)) {
                    return true;
                }
                let document = row.document(self.with_meta);
                match self.filter.as_ref().map_or(Ok(true), |filter| filter.holds(&document)) {
                    Ok(true) => failure = take(*index, &row, &document).err(),
                    Ok(false) => {}
                    Err(error) => problem = Some(error),
                }
                failure.is_none() && problem.is_none()
            })?;
            if let Some(error) = problem {
                return Err(Exit::usage(format!("--where: {error}"), None));
            }
            match failure {
                None => {}
                // A reader that went away wants no more rows; that is no error.
                Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Some(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Exit::usage(error.to_string(), None));
                }
                Some(error) => return Err(Exit::internal(&format!("failed to write: {error}"))),
            }
        }
        Ok(())
    }
}
