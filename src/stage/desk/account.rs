//! What one node buys from one model.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::budget::Reserved;
use super::preflight::named;
use super::quote::Planned;
use super::tab::{Counter, Tab};
use super::{Budget, Desk, Mode, Preflight, Quote, Recorder};
use crate::digest::Digest;
use crate::problem::Place;
use crate::provider::{Answer, Billed, CallError, ErrorKind, Ledger, Reply, Request, Sent};
use crate::record::Bill;
use crate::row::Meta;
use crate::spec::Price;
use crate::stage::StageError;
use crate::store::{Lock, NewRecord, Record, RecordKind, SentRequest, StoreError, request_key};

/// What came of asking for a completion.
#[derive(Clone, Debug, PartialEq)]
pub enum Bought {
    Reply(Box<Reply>, Meta),
    /// The call failed for good; the message names the endpoint.
    Failed(String),
    /// A dry desk does not have it and does not buy.
    Unknown,
}

/// Whoever wants to hear for whom a node waits.
pub type Waiting = Arc<dyn Fn(String) + Send + Sync>;

/// Who buys: a model as the spec names it, and on which terms.
pub struct Buyer {
    /// The model's name in the spec.
    pub name: String,
    /// Where the model is declared.
    pub place: Option<Place>,
    pub price: Option<Price>,
    /// Everything is bought anew.
    pub is_refresh: bool,
    pub preflight: Arc<Preflight>,
    /// What the whole run may cost.
    pub budget: Option<Arc<Budget>>,
    /// Is told when another process has the model.
    pub waiting: Waiting,
    /// Keeps what the models say beside the log.
    pub recorder: Option<Arc<Recorder>>,
}

/// What one node buys from one desk, counted.
pub struct Account {
    desk: Arc<Desk>,
    buyer: Buyer,
    /// The generation that counts; older completions are bought anew.
    generation: u32,
    lock: OnceCell<Arc<Lock>>,
    tab: Tab,
    /// Of a dry desk: the requests that this account was the first to count.
    planned: Mutex<(Planned, Vec<Digest>)>,
    /// Of a dry desk: calls that cannot be rendered yet.
    expected: Counter,
    /// The message that stopped the model, if any.
    fatal: Mutex<Option<String>>,
}

impl Account {
    /// Opens an account.
    pub fn new(desk: Arc<Desk>, buyer: Buyer) -> Account {
        let generation = if buyer.is_refresh { desk.next_generation } else { 0 };
        desk.is_refreshing.fetch_or(buyer.is_refresh, std::sync::atomic::Ordering::Relaxed);
        Account {
            desk,
            buyer,
            generation,
            lock: OnceCell::new(),
            tab: Tab::default(),
            planned: Mutex::default(),
            expected: Counter::default(),
            fatal: Mutex::new(None),
        }
    }

    /// Returns the desk.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Returns how many paid calls were made; for a dry desk, how many would be.
    pub fn calls(&self) -> u64 {
        match self.desk.mode {
            Mode::Dry => self.planned.lock().expect("no panic while locked").1.len() as u64 + self.expected.get(),
            _ => self.tab.calls(),
        }
    }

    /// Returns how many completions came from the log.
    pub fn reused(&self) -> u64 {
        self.tab.reused.get()
    }

    /// Returns what was bought.
    pub fn bill(&self) -> Bill {
        self.tab.bill(self.buyer.price)
    }

    /// Counts a completion that was taken over with an unchanged row of an earlier result.
    pub fn keep(&self, meta: &Meta) {
        self.tab.reuse(&meta.usage());
        self.tab.served(meta.served_model.as_deref());
    }

    /// Returns a warning if several models answered under one name.
    pub fn mixed(&self) -> Option<String> {
        let models: Vec<String> =
            self.tab.mixed()?.into_iter().map(|(model, count)| format!("{count} × {model}")).collect();
        Some(format!(
            "{} was answered by several models: {}; pin one with `model:`, or buy anew with --refresh",
            self.buyer.name,
            models.join(", ")
        ))
    }

    /// Counts completions of which no more is known. What a judge was asked again for the rows of an earlier result,
    /// because a reply could not be read, is not known any more and not counted.
    pub fn keep_calls(&self, completions: u64) {
        self.tab.reused.add(completions);
    }

    /// Says of a reply that nobody can read it. Only what was bought now is a waste of this run.
    pub fn unreadable(&self, meta: &Meta, is_new: bool) {
        if is_new {
            self.tab.unreadable(&meta.usage());
        }
    }

    /// Takes back what a dry account has counted, because its node is looked at anew. A live account keeps its counts:
    /// what it bought was bought.
    pub fn take_back(&self) {
        if self.desk.mode != Mode::Dry {
            return;
        }
        let mut counted = self.desk.planned.lock().expect("no panic while locked");
        let mut planned = self.planned.lock().expect("no panic while locked");
        for key in planned.1.drain(..) {
            counted.remove(&key);
        }
        planned.0 = Planned::default();
        self.tab.reused.clear();
        self.expected.clear();
    }

    /// Returns the prompt tokens of planned calls, as far as can be told before they are made.
    pub fn tokens(&self) -> u64 {
        let planned = self.planned.lock().expect("no panic while locked").0;
        // The log is read for it: not where nothing is planned.
        if planned == Planned::default() { 0 } else { planned.prompt_tokens(&self.desk.experience()) }
    }

    /// Returns what planned calls will cost. None if the model has no price, or if some calls cannot be rendered yet.
    pub fn quote(&self) -> Option<Quote> {
        let price = self.buyer.price.filter(|_| self.expected.get() == 0)?;
        Some(self.planned.lock().expect("no panic while locked").0.quote(&self.desk.experience(), &price))
    }

    /// Returns the message of the error that stopped the model, if one did.
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().expect("no panic while locked").clone().map(|message| self.blame(&message))
    }

    /// Returns a message with the model at fault, and where it is declared.
    pub fn blame(&self, message: &str) -> String {
        let named = self.named();
        if message.contains(&named) { message.to_owned() } else { format!("{named}: {message}") }
    }

    fn named(&self) -> String {
        named(&self.buyer.name, self.buyer.place.as_ref())
    }

    /// Counts calls that cannot be rendered yet, at most so many: a plan shows them as an upper bound.
    pub fn expect_calls(&self, calls: u64) {
        self.expected.add(calls);
    }

    /// Returns the reply to a request: from the log, else from the model. The flag says whether it was bought now.
    ///
    /// # Errors
    ///
    /// The log cannot be read or written, the model's lock cannot be had, an input is damaged, or the user stopped the
    /// run. A call that failed is not an error here: it is [`Bought::Failed`].
    pub async fn ask(&self, request: &Request) -> Result<(Bought, bool), StageError> {
        let desk = &*self.desk;
        let mut body = Vec::with_capacity(1024);
        desk.pool.provider.body(request, &mut body);
        let body = Bytes::from(body);
        let key = request_key(&desk.identity, &body, request.sample);
        let (bought, is_new) = self.answer(key, body, request).await?;
        if let (Some(recorder), Bought::Reply(reply, _)) = (&self.buyer.recorder, &bought) {
            let recorded = recorder.add(&self.buyer.name, request, reply);
            recorded.map_err(|error| StageError::Failed(format!("the recording cannot be written: {error}")))?;
        }
        Ok((bought, is_new))
    }

    async fn answer(&self, key: Digest, body: Bytes, request: &Request) -> Result<(Bought, bool), StageError> {
        let desk = &*self.desk;
        if let Some(outcome) = self.recall(&key)? {
            return Ok((outcome, false));
        }
        if desk.mode == Mode::Dry {
            self.plan(key, &body, request);
            return Ok((Bought::Unknown, false));
        }
        if desk.mode == Mode::Offline && desk.pool.provider.reach().needs_network() {
            let message = format!("offline, and the completion of {} is not in the cache", self.buyer.name);
            return Ok((Bought::Failed(message), false));
        }
        let _asker = desk.asker(key).await;
        self.lock.get_or_try_init(|| self.buyer_lock()).await?;
        if let Some(outcome) = self.recall(&key)? {
            return Ok((outcome, false));
        }
        if let Some(message) = self.buyer.preflight.check().await? {
            self.note_fatal(&message);
            return Ok((Bought::Failed(message), false));
        }
        let most = || desk.experience().most(body.len(), max_tokens(request), &self.buyer.price.unwrap_or_default());
        let reserved = match &self.buyer.budget {
            Some(budget) => match budget.reserve(most()).await {
                Some(reserved) => Some(reserved),
                None => {
                    let message = spent(budget);
                    self.note_fatal(&message);
                    return Ok((Bought::Failed(message), false));
                }
            },
            None => None,
        };
        desk.log.make_room(body.len(), desk.concurrency()).inspect_err(|error| self.close(error))?;
        let asking = Asking { account: self, key: &key, body: &body, request, reserved, failed: Mutex::new(None) };
        let called = match desk.is_batched() {
            true => asking.batched().await,
            false => desk.pool.call(&body, request, &asking).await,
        };
        let failed = asking.failed.lock().expect("no panic while locked").take();
        if let Some(error) = failed {
            return Err(error.into());
        }
        match called {
            Ok(answer) => asking.keep(answer).map(|bought| (bought, true)),
            Err(error) if error.kind == ErrorKind::Stopped => Err(StageError::Interrupted),
            Err(error) => {
                if error.kind == ErrorKind::Fatal {
                    self.note_fatal(&error.message);
                }
                Ok((Bought::Failed(error.message), false))
            }
        }
    }

    /// Counts a call that a plan would make. A request that stands twice in the plan is bought once, and so counted once.
    fn plan(&self, key: Digest, body: &Bytes, request: &Request) {
        if self.desk.planned.lock().expect("no panic while locked").insert(key) {
            let mut planned = self.planned.lock().expect("no panic while locked");
            planned.1.push(key);
            planned.0.add(body.len(), max_tokens(request));
        } else {
            self.tab.reused.add(1);
        }
    }

    async fn buyer_lock(&self) -> Result<Arc<Lock>, StageError> {
        let waiting = |holder| {
            (self.buyer.waiting)(format!(
                "waiting for {holder}, which buys from the same model as {}",
                self.buyer.name
            ));
        };
        self.desk.buyer_lock(waiting).await
    }

    /// Stops the model: what cannot be kept must not be bought.
    fn close(&self, error: &StoreError) {
        self.desk.pool.close(&error.to_string());
        if matches!(error, StoreError::Removed { .. }) {
            self.tab.kept.clear();
        }
    }

    fn note_fatal(&self, message: &str) {
        self.fatal.lock().expect("no panic while locked").get_or_insert_with(|| message.to_owned());
    }

    fn recall(&self, key: &Digest) -> Result<Option<Bought>, StageError> {
        let Some(Record { latency, response }) = self.desk.log.find(key, self.generation)? else {
            return Ok(None);
        };
        // A stored reply that the provider cannot read any more is bought again.
        let Ok(reply) = self.desk.pool.provider.read(&response) else {
            return Ok(None);
        };
        let meta = Meta::of_call(reply.usage, latency, reply.served_model.clone());
        self.keep(&meta);
        Ok(Some(Bought::Reply(Box::new(reply), meta)))
    }

    /// Forces what was bought onto the disk.
    ///
    /// # Errors
    ///
    /// The disk refuses the bytes, or the log was removed while it was written.
    pub fn sync(&self) -> Result<(), StageError> {
        Ok(self.desk.log.sync().inspect_err(|error| self.close(error))?)
    }
}

/// Returns the limit on the tokens of a completion, if the request has one.
fn max_tokens(request: &Request) -> Option<u64> {
    let names = ["max_completion_tokens", "max_tokens"].iter();
    names.filter_map(|name| request.options.get(*name)?.as_u64()).next()
}

fn spent(budget: &Budget) -> String {
    format!(
        "the budget of ${:.2} does not allow another call: ${:.4} are spent; what was bought is kept, and the next run goes on",
        budget.limit(),
        budget.spent()
    )
}

/// A request that is being asked.
struct Asking<'a> {
    account: &'a Account,
    key: &'a Digest,
    body: &'a Bytes,
    request: &'a Request,
    reserved: Option<Reserved<'a>>,
    /// Why something that was paid could not be kept.
    failed: Mutex<Option<StoreError>>,
}

impl Asking<'_> {
    /// Sends the request with a batch, and returns the answer, which is in the log then.
    async fn batched(&self) -> Result<Answer, CallError> {
        let Account { desk, buyer, generation, tab, .. } = self.account;
        let body = String::from_utf8_lossy(self.body).into_owned();
        let sent = SentRequest { key: *self.key, generation: *generation, sample: self.request.sample, body };
        tab.sent.add(1);
        let raw = desk.batcher.ask(desk, sent, &buyer.waiting).await.inspect_err(|error| {
            if let Some(billed) = &error.billed {
                self.count_useless(billed);
            }
        })?;
        let reply = desk.pool.provider.read(&raw)?;
        Ok(Answer { sent: Sent { raw, reply, pause: None }, latency: 0.0, attempts: 1 })
    }

    /// Keeps an answer, and counts it.
    fn keep(&self, answer: Answer) -> Result<Bought, StageError> {
        let Account { desk, tab, buyer, .. } = self.account;
        let reply = answer.sent.reply;
        tab.answer(&reply.usage);
        tab.served(reply.served_model.as_deref());
        if buyer.budget.is_some() {
            desk.experience().add(self.body.len(), &reply.usage);
        }
        if let Some(reserved) = &self.reserved {
            reserved.spend(buyer.price.and_then(|price| price.cost(&reply.usage)));
        }
        if desk.is_batched() {
            tab.kept.add(1);
            let meta = Meta::of_call(reply.usage, None, reply.served_model.clone());
            return Ok(Bought::Reply(Box::new(reply), meta));
        }
        if let Some(message) = desk.touched() {
            tab.unreadable(&reply.usage);
            self.append(RecordKind::Useless, answer.attempts, Some(answer.latency), &answer.sent.raw)?;
            desk.pool.close(&message);
            return Err(StageError::Failed(message));
        }
        self.append(RecordKind::Chat, answer.attempts, Some(answer.latency), &answer.sent.raw)?;
        tab.kept.add(1);
        let meta = Meta::of_call(reply.usage, Some(answer.latency), reply.served_model.clone());
        Ok(Bought::Reply(Box::new(reply), meta))
    }

    /// Counts a billed answer that is of no use. Returns false if the budget does not allow another one.
    fn count_useless(&self, billed: &Billed) -> bool {
        let Account { tab, buyer, .. } = self.account;
        tab.useless(&billed.usage);
        match &self.reserved {
            Some(reserved) => reserved.spend(buyer.price.and_then(|price| price.cost(&billed.usage))),
            None => true,
        }
    }

    fn append(&self, kind: RecordKind, attempt: u32, latency: Option<f64>, response: &str) -> Result<(), StoreError> {
        let Account { desk, generation, .. } = self.account;
        let at = desk.clock.now();
        let record = NewRecord {
            kind,
            key: self.key,
            generation: *generation,
            sample: self.request.sample,
            attempt,
            latency,
            at: &at,
            request: self.body,
            response,
        };
        desk.log.append(&record).inspect_err(|error| self.account.close(error))
    }
}

impl Ledger for Asking<'_> {
    fn sent(&self) {
        self.account.tab.sent.add(1);
    }

    fn refused(&self) {
        self.account.tab.refused.add(1);
    }

    fn useless(&self, billed: &Billed, attempt: u32) -> bool {
        let may_go_on = self.count_useless(billed);
        match self.append(RecordKind::Useless, attempt, None, &billed.raw) {
            Ok(()) => may_go_on,
            Err(error) => {
                self.failed.lock().expect("no panic while locked").get_or_insert(error);
                false
            }
        }
    }
}
