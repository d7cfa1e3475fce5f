//! `etalon schema`.

use super::exit::{self, Exit};
use super::print;
use crate::plan;

pub(super) fn run() -> Result<u8, Exit> {
    print(&serde_json::to_string_pretty(&plan::schema()).expect("schemas serialise"));
    Ok(exit::OK)
}
