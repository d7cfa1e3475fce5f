//! What a node judges, in order: each row, followed by the texts of that row that people labelled; canaries at the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::ask::Work;
use super::evidence::canary::{Canary, ORDER, REFUSAL};
use super::kept::Kept;
use super::people::labels::texts_digest;
use super::task::{Purpose, Task, Text};
use crate::digest::Digest;
use crate::row::Status;
use crate::stage::StageError;
use crate::stage::join::{Join, Joined};

/// The tasks of a node, one after the other.
pub(super) struct Tasks {
    join: Join,
    kept: Option<Kept>,
    work: Arc<Work>,
    pairs: Vec<Option<[u32; 2]>>,
    chosen: Chosen,
    queue: VecDeque<Task>,
    is_done: bool,
}

impl Tasks {
    /// Returns the tasks of a node. `pairs` are the pairs of models to compare for each row; the single entry none
    /// stands for the node's own model, alone or against the baseline.
    pub fn new(join: Join, kept: Option<Kept>, work: Arc<Work>, pairs: Vec<Option<[u32; 2]>>) -> Tasks {
        let wanted = work.judge.canaries.max(work.judge.method.identity_pairs());
        Tasks { join, kept, work, pairs, chosen: Chosen::new(wanted), queue: VecDeque::new(), is_done: false }
    }

    fn add(&mut self, joined: Arc<Joined>) -> Result<(), StageError> {
        let kept = self.kept.as_mut().map(|kept| kept.take(&joined.row.id)).transpose()?.unwrap_or_default();
        let judge = &self.work.judge;
        let is_pair = judge.method.is_pair();
        for (place, completion) in joined.completions.iter().enumerate() {
            for pair in &self.pairs {
                let [first, second] = pair.map_or([0, 1], |pair| pair.map(|index| index as usize));
                self.queue.push_back(Task {
                    joined: joined.clone(),
                    first: Text::Of { contestant: first, sample: place },
                    second: is_pair.then_some(Text::Of { contestant: second, sample: place }),
                    sample: completion.sample,
                    pair: *pair,
                    purpose: Purpose::Row,
                    kept: kept.iter().find(|kept| kept.sample == completion.sample && kept.pair == *pair).cloned(),
                });
            }
        }
        if let Some((_, labels)) = judge.human.as_ref().filter(|(_, labels)| labels.has(&joined.row.id)) {
            for pair in &self.pairs {
                let [first, second] = pair.map_or([0, 1], |pair| pair.map(|index| index as usize));
                let text = |contestant: usize| {
                    joined.of(contestant).and_then(|all| Some(all.first()?.shown()?.into_owned())).unwrap_or_default()
                };
                let other = is_pair.then(|| text(second));
                let now = texts_digest(&text(first), other.as_deref());
                for texts in labels.texts(&joined.row.id, self.work.sides(*pair)) {
                    if texts.digest() != now {
                        let other = texts.baseline.map_or(Text::Of { contestant: second, sample: 0 }, Text::Own);
                        self.queue.push_back(Task {
                            joined: joined.clone(),
                            first: Text::Own(texts.completion),
                            second: is_pair.then_some(other),
                            sample: 0,
                            pair: *pair,
                            purpose: Purpose::Labelled,
                            kept: None,
                        });
                    }
                }
            }
        }
        self.chosen.add(&joined);
        Ok(())
    }
}

impl Iterator for Tasks {
    type Item = Result<Task, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(task) = self.queue.pop_front() {
                return Some(Ok(task));
            }
            if self.is_done {
                return None;
            }
            match self.join.next() {
                Some(Ok(joined)) => {
                    if let Err(error) = self.add(Arc::new(joined)) {
                        return Some(Err(error));
                    }
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.is_done = true;
                    if let Some(Err(error)) = self.kept.as_mut().map(Kept::finish) {
                        return Some(Err(error));
                    }
                    let judge = &self.work.judge;
                    let (is_pair, has_reference) = (judge.method.is_pair(), judge.reference.is_some());
                    let identical = judge.method.identity_pairs();
                    self.queue.extend(self.chosen.tasks(judge.canaries, identical, is_pair, has_reference));
                }
            }
        }
    }
}

/// The rows from which canaries are made: those with the lowest digests of their ids, whatever the order of rows.
struct Chosen {
    wanted: usize,
    rows: BTreeMap<Digest, Arc<Joined>>,
}

impl Chosen {
    fn new(wanted: u64) -> Chosen {
        Chosen { wanted: wanted as usize, rows: BTreeMap::new() }
    }

    fn add(&mut self, joined: &Arc<Joined>) {
        if self.wanted == 0 {
            return;
        }
        self.rows.insert(Digest::of_json("etalon.canary", &joined.row.id.as_str().into()), joined.clone());
        if self.rows.len() > self.wanted {
            self.rows.pop_last();
        }
    }

    fn first(&self, n: u64) -> Vec<&Arc<Joined>> {
        self.rows.values().take(n as usize).collect()
    }

    /// Returns the tasks: every canary for the first `canaries` rows, and the same text on both sides for the first
    /// `identical` rows.
    fn tasks(&self, canaries: u64, identical: u64, is_pair: bool, has_reference: bool) -> Vec<Task> {
        let answer = Text::Of { contestant: 0, sample: 0 };
        let task = |joined: &Arc<Joined>, canary: Canary, first: Text, second: Text| Task {
            joined: joined.clone(),
            first,
            second: is_pair.then_some(second),
            sample: 0,
            pair: None,
            purpose: Purpose::Canary(canary),
            kept: None,
        };
        let rows = self.first(canaries);
        let own = |text: &str| Text::Own(text.to_owned());
        let mut tasks = Vec::new();
        for (index, joined) in rows.iter().enumerate() {
            let said = joined.completions.first();
            let texts = [
                (Canary::Empty, ""),
                (Canary::Colon, ":"),
                (Canary::Thought, "Thought process:"),
                (Canary::Refusal, REFUSAL),
                (Canary::Order, ORDER),
            ];
            // If the row's own completion is empty, no canary can be worse than it.
            let is_blank = said.is_none_or(|said| {
                said.status.is_answered() && said.text.as_deref().unwrap_or_default().trim().is_empty()
            });
            if !(is_pair && is_blank) {
                tasks.extend(texts.map(|(canary, text)| task(joined, canary, own(text), answer.clone())));
            }
            let other = rows[(index + 1) % rows.len()].completions.first();
            if let Some(other) = other.filter(|_| rows.len() > 1 && !(is_pair && is_blank)) {
                let is_unknown = other.status == Status::Unknown;
                let text = other.text.clone().filter(|text| said.is_some_and(|said| said.text.as_ref() != Some(text)));
                if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
                    tasks.push(task(joined, Canary::OtherPrompt, Text::Own(text), answer.clone()));
                } else if is_unknown {
                    tasks.push(task(joined, Canary::OtherPrompt, answer.clone(), answer.clone()));
                }
            }
            if has_reference {
                // The text of the reference is filled in when the task is asked.
                tasks.push(task(joined, Canary::Reference, own(""), own(REFUSAL)));
            }
            let text = said.and_then(|said| said.text.clone()).unwrap_or_default();
            if !text.trim().is_empty() {
                if !is_pair {
                    tasks.push(task(joined, Canary::Original, answer.clone(), answer.clone()));
                }
                tasks.push(task(joined, Canary::Padded, Text::Own(format!("{text}\n\n{text}")), answer.clone()));
            } else if said.is_some_and(|said| said.status == Status::Unknown) {
                tasks.push(task(joined, Canary::Padded, answer.clone(), answer.clone()));
            }
        }
        let with_text = |joined: &&Arc<Joined>| {
            joined.completions.first().is_some_and(|said| {
                said.status == Status::Unknown || said.text.as_ref().is_some_and(|text| !text.trim().is_empty())
            })
        };
        tasks.extend(
            self.first(identical)
                .into_iter()
                .filter(with_text)
                .map(|joined| task(joined, Canary::Identity, answer.clone(), answer.clone())),
        );
        tasks
    }
}
