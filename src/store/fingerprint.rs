//! Fingerprints: the named facts that a node depends on.
//!
//! | in the key | where |
//! |---|---|
//! | kind and its revision | `kind`, `revision` |
//! | settings that matter, defaults omitted | `settings` |
//! | params that a template reads | `params` |
//! | every template a render can reach | `templates` |
//! | every file a setting names | `files` |
//! | model identity, options | `models` |
//! | content of the inputs, narrowed to the columns read | `inputs` |
//!
//! Never in the key: stage names, paths of specs, times, hosts, thread counts, credentials, limits,
//! columns nobody reads, the order of rows.
//!
//! History of versions: 1, the first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;

/// Everything that can change a node's output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub version: u32,
    pub kind: String,
    /// Bumped by hand when the meaning of the kind changes.
    pub revision: u32,
    pub settings: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, Option<Digest>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Digest>,
    /// By the part that the model plays in the node: `model`, `judge`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, Map<String, Value>>,
    /// For a judge: the digest of everything that decides how it measures, without the inputs. It follows from the
    /// other fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<Digest>,
    /// Digests of columns, by the input's part in the node (`rows`, `completions`, `baseline`), then by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, BTreeMap<String, Option<Digest>>>,
}

/// One difference between two fingerprints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Kind,
    Revision,
    Setting(String),
    Param(String),
    Template(String),
    File(String),
    /// The model's part in the node, then the fact: `options`, `weights`, `base_url`, …
    Model(String, String),
    /// The input's part in the node, then the column.
    Input(String, String),
}

impl Fingerprint {
    /// Returns a fingerprint that holds only the kind and its revision.
    pub fn new(kind: &str, revision: u32) -> Fingerprint {
        Fingerprint { version: 1, kind: kind.to_owned(), revision, ..Fingerprint::default() }
    }

    /// Adds a setting; callers leave out settings that have their default.
    pub fn setting(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Returns true if an earlier result was made in the same way, so that at most the content of its inputs differs.
    pub fn is_made_alike(&self, earlier: &Fingerprint) -> bool {
        let Fingerprint { version, kind, revision, settings, params, templates, files, models, instrument, inputs } =
            self;
        let is_same_shape = inputs.len() == earlier.inputs.len()
            && inputs
                .iter()
                .zip(&earlier.inputs)
                .all(|((part, columns), (other, others))| part == other && columns.keys().eq(others.keys()));
        is_same_shape
            && (version, kind, revision) == (&earlier.version, &earlier.kind, &earlier.revision)
            && (settings, params, templates) == (&earlier.settings, &earlier.params, &earlier.templates)
            && (files, models, instrument) == (&earlier.files, &earlier.models, &earlier.instrument)
    }

    /// Returns the key.
    pub fn key(&self) -> Digest {
        Digest::of_json("etalon.key.v1", &serde_json::to_value(self).expect("fingerprints serialise"))
    }

    /// Returns what differs from an earlier fingerprint.
    pub fn changes_since(&self, earlier: &Fingerprint) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.kind != earlier.kind {
            return vec![Change::Kind];
        }
        if self.revision != earlier.revision || self.version != earlier.version {
            changes.push(Change::Revision);
        }
        let settings = differing(&self.settings, &earlier.settings);
        changes.extend(settings.into_iter().map(Change::Setting));
        changes.extend(differing(&self.params, &earlier.params).into_iter().map(Change::Param));
        changes.extend(differing(&self.templates, &earlier.templates).into_iter().map(Change::Template));
        changes.extend(differing(&self.files, &earlier.files).into_iter().map(Change::File));
        let empty = Map::new();
        for part in differing(&self.models, &earlier.models) {
            let facts =
                differing(self.models.get(&part).unwrap_or(&empty), earlier.models.get(&part).unwrap_or(&empty));
            changes.extend(facts.into_iter().map(|fact| Change::Model(part.clone(), fact)));
        }
        let empty = BTreeMap::new();
        for part in differing(&self.inputs, &earlier.inputs) {
            let columns =
                differing(self.inputs.get(&part).unwrap_or(&empty), earlier.inputs.get(&part).unwrap_or(&empty));
            changes.extend(columns.into_iter().map(|column| Change::Input(part.clone(), column)));
        }
        changes
    }
}

/// Returns the names whose values differ between two maps.
fn differing<'a, M, V>(now: &'a M, then: &'a M) -> Vec<String>
where
    &'a M: IntoIterator<Item = (&'a String, &'a V)>,
    V: PartialEq + 'a,
{
    let then_map: BTreeMap<&String, &V> = then.into_iter().collect();
    let now_map: BTreeMap<&String, &V> = now.into_iter().collect();
    let mut names: Vec<String> = now_map
        .iter()
        .filter(|(name, value)| then_map.get(*name) != Some(value))
        .map(|(name, _)| (*name).clone())
        .chain(then_map.keys().filter(|name| !now_map.contains_key(*name)).map(|name| (*name).clone()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named() {
        let mut a = Fingerprint::new("judge", 1);
        a.setting("scale", vec![1, 5]);
        a.templates.insert("judge/rubric.j2".into(), Some(Digest::of(b"a")));
        a.models.insert("judge".into(), Map::from_iter([("options".to_owned(), Value::from(1))]));
        let mut b = a.clone();
        assert_eq!(a.key(), b.key());
        assert!(b.changes_since(&a).is_empty());
        b.templates.insert("judge/rubric.j2".into(), Some(Digest::of(b"b")));
        b.models.insert("judge".into(), Map::from_iter([("options".to_owned(), Value::from(2))]));
        assert_ne!(a.key(), b.key());
        assert_eq!(
            b.changes_since(&a),
            [Change::Template("judge/rubric.j2".into()), Change::Model("judge".into(), "options".into())]
        );
    }
}
