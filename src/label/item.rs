//! Items: what a label and a line of a sheet are about, by digest.

use serde_json::json;

use crate::digest::Digest;

/// Returns what tells an item from others: the row, the models and the texts.
pub(super) fn item_digest(
    row: &str,
    model: &str,
    against: Option<&str>,
    completion: &str,
    baseline: Option<&str>,
) -> Digest {
    Digest::of_json("etalon.label", &json!([row, model, against, completion, baseline]))
}

/// Returns the name of an item: a letter first, so that no spreadsheet takes it for a number.
pub(super) fn item_name(digest: &Digest) -> String {
    format!("i{}", &digest.to_string()[..11])
}
