//! How a node's judgements are made: tasks are asked, and the judgements become rows and a summary.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::ask::Work;
use super::evidence::canary::Canaries;
use super::evidence::length::Verbosity;
use super::evidence::lineage::Kin;
use super::evidence::panel::Panel;
use super::kept::Kept;
use super::method::{Gathered, Said, Tally};
use super::node::{Grader, Judge, pairs_of};
use super::people::calibration::{Calibration, Labelled};
use super::people::labels::Sides;
use super::task::{Judged, Purpose};
use super::tasks::Tasks;
use crate::row::Judgement;
use crate::score::Summary;
use crate::stage::Stage;
use crate::stage::drive::{Sink, drive};
use crate::stage::inference::sample_id;
use crate::stage::join::Join;
use crate::stage::prompt::{Failures, params_value};
use crate::stage::{Account, Job, Part, Produced, Progress, StageError, coverage, seed_of};
use crate::store::{ArtifactWriter, Counts};

/// Takes judgements, in order.
struct JudgementSink {
    work: Arc<Work>,
    writer: ArtifactWriter,
    failures: Failures,
    /// Failed calls about canaries and labelled texts, which are not rows of the node.
    failures_beside: Failures,
    allowed: u64,
    tally: Box<dyn Tally>,
    /// The judgements of the current row, one per sample and pair.
    of_row: Vec<Judged>,
    valid: u64,
    cut: u64,
    panel: Panel,
    verbosity: Option<Verbosity>,
    canaries: Canaries,
    calibration: Option<Calibration>,
    progress: Arc<Progress>,
}

impl Sink<Judged> for JudgementSink {
    fn take(&mut self, judged: Judged) -> Result<bool, StageError> {
        if let Some(message) = &judged.failure {
            let is_row = judged.purpose == Purpose::Row;
            if is_row { &mut self.failures } else { &mut self.failures_beside }.add(message);
        }
        let method = &*self.work.judge.method;
        let judgement = &judged.judgement;
        if let (Some(calibration), Purpose::Row | Purpose::Labelled) = (&mut self.calibration, &judged.purpose) {
            let labelled = Labelled {
                judgement,
                sides: self.work.sides(judgement.pair),
                texts: judged.texts,
                is_current: judged.purpose == Purpose::Row,
            };
            calibration.add(&labelled, method);
        }
        match &judged.purpose {
            Purpose::Row => {
                self.progress.count(judged.failure.is_some());
                self.valid += u64::from(judgement.status.is_valid());
                self.cut += u64::from(judged.is_cut);
                self.panel.add(judgement, method);
                self.writer.push(&sample_id(&judgement.id, judgement.sample), judgement)?;
                if self.of_row.first().is_some_and(|first| first.judgement.id != judgement.id) {
                    self.end_row();
                }
                self.of_row.push(judged);
            }
            Purpose::Labelled => {}
            Purpose::Canary(canary) => self.canaries.add(*canary, judgement, method),
        }
        let is_fatal = self.work.accounts.iter().any(|account| account.fatal().is_some());
        Ok(self.failures.count <= self.allowed && !is_fatal)
    }
}

impl JudgementSink {
    /// Adds the current row, which is complete, to the summary.
    fn end_row(&mut self) {
        let of_row = std::mem::take(&mut self.of_row);
        if of_row.is_empty() {
            return;
        }
        self.tally.add(&gathered(&of_row));
        if let Some(verbosity) = &mut self.verbosity {
            let method = &self.work.judge.method;
            let worth =
                |judgement: &Judgement| method.worth(&Said::of(judgement)).filter(|_| judgement.status.is_valid());
            let row = of_row.iter().map(|one| (&one.judgement, worth(&one.judgement), one.length));
            verbosity.add_row(row);
        }
    }
}

fn gathered(of_row: &[Judged]) -> Vec<Gathered<'_>> {
    of_row
        .iter()
        .map(|Judged { judgement, length, baseline_length, .. }| Gathered {
            judgement,
            length: *length,
            baseline_length: *baseline_length,
        })
        .collect()
}

impl Judge {
    pub(super) async fn produce(self: Arc<Self>, job: Job) -> Result<Produced, StageError> {
        let account_of = |grader: &Grader| {
            let account = job.accounts.get(&grader.model).cloned();
            account.ok_or_else(|| StageError::failed(format!("the judge {} cannot be asked", grader.model)))
        };
        let accounts: Vec<Arc<Account>> = self.judges.iter().map(account_of).collect::<Result<_, _>>()?;
        let contestants: Vec<String> = if self.method.is_all_pairs() {
            Part::contestants().filter_map(|part| job.input_models.get(&part).cloned()).collect()
        } else {
            vec![job.model.clone().unwrap_or_default()]
        };
        let pairs: Vec<Option<[u32; 2]>> =
            if self.method.is_all_pairs() { pairs_of(contestants.len()).map(Some).collect() } else { vec![None] };
        let completions = job.inputs.get(&Part::OWN).map_or(0, |completions| completions.artifact.rows);
        let all = completions * pairs.len() as u64;
        job.progress.total.store(all, Ordering::Relaxed);
        let allowed = if job.is_fail_fast { 0 } else { self.max_failures.of(all) };
        let work = Arc::new(Work {
            accounts: accounts.clone(),
            params: params_value(&job.params),
            contestants,
            row_reads: self.conversation.row.clone(),
            upstream: job.upstream.clone().filter(|_| self.shows_prompt()).map(|stage| (stage, job.params.clone())),
            reference_reads: self.reference.as_ref().map(|prompt| prompt.template.reads.of("row")).unwrap_or_default(),
            judge: self.clone(),
        });
        let seed = seed_of("judge", &Value::Object(self.method.settings()));
        let all_sides: Vec<Sides<'_>> = pairs.iter().map(|pair| work.sides(*pair)).collect();
        let calibration = self
            .human
            .as_ref()
            .filter(|(_, labels)| !labels.is_missing)
            .map(|(_, labels)| Calibration::new(labels.clone(), self.method.labels(), &job.node, &all_sides));
        let kept = Kept::open(&job, &accounts)?;
        let items = Tasks::new(Join::open(&job.store, &job.inputs, false)?, kept, work.clone(), pairs);
        // Of single completions a preference shows only beside another model's node: see `contrast`.
        let kin = match self.method.is_pair() {
            true => self.kin(job.model.as_deref(), self.baseline_model()),
            false => vec![Kin::None; self.judges.len()],
        };
        let sink = JudgementSink {
            writer: job.store.write_artifact()?,
            failures: Failures::default(),
            failures_beside: Failures::default(),
            allowed,
            tally: self.method.tally(seed, &work.contestants),
            of_row: Vec::new(),
            valid: 0,
            cut: 0,
            panel: Panel::new(kin, self.scale().map_or(1.0, |scale| scale.high - scale.low)),
            verbosity: (!self.method.is_pair()).then(Verbosity::default),
            canaries: Canaries::default(),
            calibration,
            progress: job.progress.clone(),
            work: work.clone(),
        };
        let judge = move |task| -> BoxFuture<'static, _> { Box::pin(work.clone().judge(task)) };
        // A row asks one judge after the other, so the judge that takes the most calls at once decides how many rows
        // are worked on.
        let concurrency = accounts.iter().map(|account| account.desk().concurrency()).max().unwrap_or(1);
        let idle = || accounts.iter().map(|account| account.desk().idle()).max().unwrap_or(0);
        let (mut sink, result) = drive(items, judge, concurrency, idle, sink).await;
        for account in &accounts {
            account.sync()?;
        }
        if let Some(message) = accounts.iter().find_map(|account| account.fatal()) {
            return Err(StageError::Failed(message));
        }
        result?;
        sink.end_row();
        self.summed_up(sink, &accounts, all)
    }

    fn summed_up(&self, sink: JudgementSink, accounts: &[Arc<Account>], all: u64) -> Result<Produced, StageError> {
        let JudgementSink {
            writer,
            failures,
            failures_beside,
            allowed,
            mut tally,
            valid,
            cut,
            mut panel,
            verbosity,
            canaries,
            calibration,
            ..
        } = sink;
        let method = &*self.method;
        if failures.count > allowed {
            let message = failures.error(allowed, all).to_string();
            // Of several judges the messages name the endpoints; of one it is clear whose fault it is.
            return Err(StageError::Failed(match accounts {
                [one] => one.blame(&message),
                _ => message,
            }));
        }
        let artifact = writer.finish()?;
        let mut summary = Summary::default();
        let mut notes = Vec::new();
        tally.finish(&mut summary, &mut notes);
        let judges: Vec<&str> = self.judges.iter().map(|judge| judge.model.as_str()).collect();
        panel.finish(&judges, method, &mut summary, &mut notes);
        if let Some(verbosity) = verbosity {
            verbosity.finish(&mut summary);
        }
        canaries.finish(method, &mut summary, &mut notes);
        let mut golden: Vec<(String, Option<f64>)> = canaries.golden(method.is_pair()).collect();
        if let Some(mut calibration) = calibration {
            calibration.finish(method, &mut summary, &mut notes);
            golden.extend(calibration.golden());
        }
        if !golden.is_empty() {
            let rows = golden.into_iter().map(|(item, worth)| json!({ "item": item, "worth": worth }));
            summary.tables.insert("golden".to_owned(), rows.collect());
        }
        summary.values.insert("coverage".to_owned(), coverage(valid, all));
        if cut > 0 {
            notes.push(format!("{cut} of {all} candidates were cut to what `truncate_candidates` allows"));
        }
        notes.extend(accounts.iter().filter_map(|account| account.mixed()));
        if failures.count > 0 {
            notes.push(format!("{} of {all} rows failed: {}", failures.count, failures.describe()));
        }
        if failures_beside.count > 0 {
            notes.push(format!(
                "{} calls about canaries and labelled texts failed: {}",
                failures_beside.count,
                failures_beside.describe()
            ));
        }
        let counts = Counts {
            rows: all,
            failed: failures.count + failures_beside.count,
            missing: all - valid,
            calls: accounts.iter().map(|account| account.calls()).sum(),
            reused: accounts.iter().map(|account| account.reused()).sum(),
            cost_usd: accounts.iter().filter_map(|account| account.bill().bought_usd).reduce(|a, b| a + b),
            seconds: 0.0,
        };
        Ok(Produced { artifact, meta: None, counts, summary, notes })
    }
}
