//! Which judged rows people should label: drawn from strata by digest, and shown blind.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{Found, RowResult, Session, ShownRow, each_row};
use crate::label::{Item, Key};
use crate::plan::Node;
use crate::row::Judgement;
use crate::stage::{Part, Shown, StageError, quotas};

/// What divides judged rows into strata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stratum {
    /// What the judge said: its verdict, or in which third of the scale its score lies.
    Score,
    /// Whether the orders, the votes or the judges disagree.
    Disagreement,
}

/// Returns at most `n` judged rows of nodes that can be labelled, without the items in `known`. Their order comes from
/// digests, so it says nothing about them.
///
/// # Errors
///
/// An artifact is damaged or cannot be read.
pub fn items(
    session: &Session,
    found: &[(usize, Found)],
    by: &[Stratum],
    n: usize,
    known: &BTreeSet<String>,
) -> Result<Vec<Item>, StageError> {
    let mut all = Vec::new();
    for (index, found) in found {
        let nodes = &session.plan.nodes;
        let node = &nodes[*index];
        let own = node.input(Part::OWN).map(|own| &nodes[own]);
        let baseline = node.input(Part::Baseline).map(|baseline| &nodes[baseline]);
        // A baseline of another stage goes by its node name, one of the same stage by its model.
        let is_own = |baseline: &&Node| own.is_some_and(|own| own.stage_name == baseline.stage_name);
        let against = baseline.and_then(|baseline| match is_own(&baseline) {
            true => baseline.model.as_deref(),
            false => Some(baseline.name.as_str()),
        });
        each_row(session, *index, found, |row| {
            if row.sample == 0
                && let Some(key) = key_of(&row, against)
                && !known.contains(&key.item)
            {
                let shown = Shown {
                    model: Some(&key.model),
                    params: &session.plan.spec.params,
                    row: &row.row,
                    sample: 0,
                    draft: row.draft.as_ref(),
                };
                let asked = own.and_then(|own| own.stage.asked(&shown)).unwrap_or_default();
                let turns = asked.iter().filter(|turn| turn.role != "system").map(|turn| turn.text());
                let prompt = turns.collect::<Vec<_>>().join("\n\n");
                let stratum = stratum(&row, by);
                all.push((stratum, Item { key, prompt, row: row.row.columns }));
            }
            true
        })?;
    }
    Ok(drawn(all, n))
}

/// Draws `n` items from the strata in proportion to their sizes, and at least one from each as long as `n` allows it.
fn drawn(mut all: Vec<(String, Item)>, n: usize) -> Vec<Item> {
    all.sort_by(|(_, a), (_, b)| a.key.item.cmp(&b.key.item));
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for (stratum, _) in &all {
        *sizes.entry(stratum.clone()).or_default() += 1;
    }
    let mut wanted: BTreeMap<String, u64> =
        quotas(&sizes, n as u64).into_iter().map(|(stratum, count)| (stratum.to_owned(), count)).collect();
    while let Some(empty) = wanted.iter().find(|(_, count)| **count == 0).map(|(stratum, _)| stratum.clone()) {
        let largest = wanted.iter().max_by_key(|(_, count)| **count).map(|(stratum, count)| (stratum.clone(), *count));
        match largest {
            Some((largest, count)) if count > 1 => {
                wanted.insert(largest, count - 1);
                wanted.insert(empty, 1);
            }
            _ => break,
        }
    }
    all.retain(|(stratum, _)| {
        let left = wanted.entry(stratum.clone()).or_default();
        let is_drawn = *left > 0;
        *left = left.saturating_sub(1);
        is_drawn
    });
    all.into_iter().map(|(_, item)| item).collect()
}

/// Returns the key of the item that a row becomes; none if there is nothing to label.
fn key_of(row: &ShownRow, against: Option<&str>) -> Option<Key> {
    let (model, against) = match &row.pair {
        Some([model, against]) => (model.as_str(), Some(against.as_str())),
        None => (row.model.as_deref()?, against),
    };
    let completion = row.completion.as_ref()?.shown()?;
    let other = match against {
        Some(against) => Some((against, row.baseline.as_ref()?.shown()?)),
        None => None,
    };
    Key::of(&row.row.id, model, &completion, other.as_ref().map(|(against, text)| (*against, &**text)))
}

fn stratum(row: &ShownRow, by: &[Stratum]) -> String {
    let RowResult::Judgement(judgement, _) = &row.result else { return String::new() };
    let strata: Vec<String> = by
        .iter()
        .map(|stratum| match stratum {
            Stratum::Score => said(judgement),
            Stratum::Disagreement => if is_disputed(judgement) { "disputed" } else { "undisputed" }.to_owned(),
        })
        .collect();
    strata.join(" ")
}

/// Returns what the judge said in one word: its verdict, or its mean score, rounded.
fn said(judgement: &Judgement) -> String {
    if let Some(verdict) = &judgement.verdict {
        return verdict.clone();
    }
    let scores: Vec<f64> =
        judgement.scores.iter().flat_map(|scores| scores.values()).filter_map(|score| score.as_f64()).collect();
    if scores.is_empty() {
        return "none".to_owned();
    }
    format!("{:.0}", scores.iter().sum::<f64>() / scores.len() as f64)
}

/// Returns true if orders or votes differ.
fn is_disputed(judgement: &Judgement) -> bool {
    let orders_differ = |orders: &[Option<crate::outcome::Outcome>]| orders.windows(2).any(|pair| pair[0] != pair[1]);
    let votes = &judgement.votes;
    orders_differ(&judgement.orders)
        || votes.iter().any(|vote| orders_differ(&vote.orders))
        || votes
            .windows(2)
            .any(|pair| json!([pair[0].verdict, pair[0].scores]) != json!([pair[1].verdict, pair[1].scores]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> Item {
        let key = Key { item: name.to_owned(), ..Key::of("1", "tuned", name, None).expect("it has a text") };
        Item { key, prompt: String::new(), row: serde_json::Map::new() }
    }

    #[test]
    fn every_stratum_is_drawn_from_where_there_is_room() {
        let mut all: Vec<(String, Item)> = (0..98).map(|n| ("win".to_owned(), item(&format!("i{n:02}")))).collect();
        all.push(("loss".to_owned(), item("i98")));
        all.push(("tie".to_owned(), item("i99")));
        let names: Vec<String> = drawn(all, 5).into_iter().map(|item| item.key.item).collect();
        assert_eq!(names, ["i00", "i01", "i02", "i98", "i99"]);
    }
}
