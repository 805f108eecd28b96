//! The one performance idea, for Redis and Postgres: collect items while a call is in flight, and send them when it returns.
//!
//! Calls that follow each other begin a little apart ([`BatchLimits::spacing`]). A fast store would otherwise get a call for every
//! one or two items, and most of a purchase's price would be that of calls. Whoever comes to an idle place waits for nothing.

use crate::{
    error::{Error, Result},
    mutation::Mutation,
    telemetry::name,
};
use dashmap::DashMap;
use flashsale_protocol::ShopperId;
use smallvec::SmallVec;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// Batches that an item joins before its asker is told to come again: each time another item was in its way.
const TRIES_MOST: u32 = 5;
/// Parts of failed batches that may wait. Beyond that no new batch begins, so that failures of everything do not pile up.
const PARTS_MOST: usize = 64;
/// Most items of one asker that wait for a later batch; one more is refused as busy.
const OF_ONE_ASKER_MOST: usize = 32;
/// Most items put off, in batches: beyond that the queue itself has to wait.
const BATCHES_PUT_OFF_MOST: usize = 8;
/// How long an asker whose item failed by itself gets separate batches, and for how many askers this is remembered.
const SUSPECT_LIFE: Duration = Duration::from_secs(10);
const SUSPECTS_MOST: usize = 1_024;

#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Items in one call.
    pub items: usize,
    /// Items that may wait; one more is refused as busy.
    pub waiting: usize,
    /// How long an item waits for its answer.
    pub deadline: Duration,
    /// The least time between the beginnings of two common calls, unless a whole batch waits.
    pub spacing: Duration,
}

/// The subjects of an item, as hashes: two items with a common subject never share a batch, so a call has no conflicts between
/// its own items. The first is the asker. Without subjects, an item fits into any batch.
pub type Subjects = SmallVec<[u64; 3]>;

/// The hash of one subject. Each process has its own seed, so that nobody can choose names that collide.
pub fn subject(what: impl Hash) -> u64 {
    static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    HASHES.hash_one(what)
}

/// No subjects: the item is about nobody.
pub(crate) fn nobody_s<I>(_: &I) -> Subjects {
    Subjects::new()
}

/// The subjects of one shopper's item: a batch has only one item of each shopper.
pub fn of_shopper(shopper: &ShopperId) -> Subjects {
    [subject(shopper)].into_iter().collect()
}

/// The items of one call.
pub type Batch<I> = Arc<Vec<I>>;

/// A call's answer about one item.
#[derive(Debug)]
pub enum Verdict<O> {
    Done(O),
    /// Something outside of this batch was in its way. Nothing was changed for it, and it goes into a later batch.
    Again,
    /// This item alone has failed.
    Failed(Error),
}

struct Waiting<I, O> {
    item: I,
    asker: Asker<O>,
}

/// The one who waits for an item's answer.
struct Asker<O> {
    subjects: Subjects,
    tries: u32,
    /// None: nobody waits.
    answer: Option<oneshot::Sender<Result<O>>>,
}

impl<O> Asker<O> {
    fn name(&self) -> Option<u64> {
        self.subjects.first().copied()
    }

    /// Whether the asker no longer waits; then the item is not begun.
    fn has_given_up(&self) -> bool {
        self.answer.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn tell(self, batch: &'static str, result: Result<O>) {
        match (self.answer, result) {
            // An asker may give up and be gone.
            (Some(answer), result) => drop(answer.send(result)),
            (None, Err(error)) => tracing::warn!(batch, %error, "an item that nobody waits for has failed"),
            (None, Ok(_)) => {}
        }
    }
}

/// Collects items of one kind for one place (a lane, a sale). Cheap to clone; ends with its last clone.
///
/// An item is answered as if it had come alone, in some order of the items. A batch that fails, perhaps through one item's fault,
/// is halved until that item stands alone; its asker is then kept apart for a while.
pub struct Batcher<I, O> {
    name: &'static str,
    limits: BatchLimits,
    subjects: fn(&I) -> Subjects,
    queue: mpsc::Sender<Waiting<I, O>>,
    pace: Arc<Pace>,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            limits: self.limits,
            subjects: self.subjects,
            queue: self.queue.clone(),
            pace: self.pace.clone(),
        }
    }
}

/// How long calls take, so that an item that cannot be answered in time is refused at once and does not wait in vain.
#[derive(Default)]
struct Pace {
    /// The mean of the last calls, in µs.
    call_us: AtomicU64,
    /// Items that were taken out of the queue and wait for a later batch.
    put_off: AtomicUsize,
}

/// Part of a call's time in the mean of the calls.
const NEW_CALL: f64 = 0.3;

impl Pace {
    fn note(&self, took: Duration, put_off: usize) {
        let (before, took) = (
            self.call_us.load(Ordering::Relaxed) as f64,
            took.as_micros() as f64,
        );
        let mean = if before == 0.0 {
            took
        } else {
            before + (took - before) * NEW_CALL
        };
        self.call_us.store(mean as u64, Ordering::Relaxed);
        self.put_off.store(put_off, Ordering::Relaxed);
    }

    /// The time until an item behind so many others is answered.
    fn expected(&self, queued: usize, items: usize) -> Duration {
        let ahead = queued + self.put_off.load(Ordering::Relaxed);
        // The call that is in flight, full ones for those ahead, and its own.
        let calls = 2 + (ahead / items) as u64;
        Duration::from_micros(self.call_us.load(Ordering::Relaxed).saturating_mul(calls))
    }
}

impl<I: Clone + Send + Sync + 'static, O: Send + 'static> Batcher<I, O> {
    /// `call` gets the items in the order of their arrival, and answers in the same order.
    pub fn new<F, Fut>(name: &'static str, limits: BatchLimits, subjects: fn(&I) -> Subjects, call: F) -> Self
    where
        F: Fn(Batch<I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<O>>> + Send + 'static,
    {
        Self::with_verdicts(name, limits, subjects, move |items| {
            let answers = call(items);
            async move { Ok(answers.await?.into_iter().map(Verdict::Done).collect()) }
        })
    }

    /// Like [`Self::new`], for a call that may leave an item to a later batch or fail it alone.
    pub(crate) fn with_verdicts<F, Fut>(
        name: &'static str,
        limits: BatchLimits,
        subjects: fn(&I) -> Subjects,
        call: F,
    ) -> Self
    where
        F: Fn(Batch<I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Verdict<O>>>> + Send + 'static,
    {
        let (queue, incoming) = mpsc::channel(limits.waiting);
        let line = Line {
            name,
            limits,
            next_call: tokio::time::Instant::now(),
            incoming,
            later: VecDeque::new(),
            apart: VecDeque::new(),
            parts: VecDeque::new(),
            suspects: HashMap::new(),
        };
        let pace = Arc::new(Pace::default());
        tokio::spawn(run(line, pace.clone(), call));
        Self {
            name,
            limits,
            subjects,
            queue,
            pace,
        }
    }

    /// Waits for the item's own answer. After an error the item may or may not have had its effect.
    pub(crate) async fn submit(&self, item: I) -> Result<O> {
        let (answer, answered) = oneshot::channel();
        let BatchLimits { items, deadline, .. } = self.limits;
        let queued = self.queue.max_capacity() - self.queue.capacity();
        // Only behind a whole batch of others: an item that would be next shows whether the store is fast again.
        if queued > items && self.pace.expected(queued, items) >= deadline {
            return Err(Error::QueueFull(self.name));
        }
        self.put(item, Some(answer))?;
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::unexpected(format!(
                "the batch of {} was dropped",
                self.name
            ))),
            Err(_) => Err(Error::Deadline(deadline.as_millis() as u64)),
        }
    }
}

impl<I, O> Batcher<I, O> {
    fn put(&self, item: I, answer: Option<oneshot::Sender<Result<O>>>) -> Result<()> {
        let asker = Asker {
            subjects: (self.subjects)(&item),
            tries: 0,
            answer,
        };
        let waiting = Waiting { item, asker };
        self.queue
            .try_send(waiting)
            .map_err(|_| Error::QueueFull(self.name))
    }
}

/// Items that wait for their batch.
struct Line<I, O> {
    name: &'static str,
    limits: BatchLimits,
    /// When the next common call may begin.
    next_call: tokio::time::Instant,
    incoming: mpsc::Receiver<Waiting<I, O>>,
    /// Items put off because another item has the same subject, in the order of their arrival.
    later: VecDeque<Waiting<I, O>>,
    /// Items of suspects; each goes alone.
    apart: VecDeque<Waiting<I, O>>,
    /// Halves of batches that have failed.
    parts: VecDeque<Vec<Waiting<I, O>>>,
    /// Askers whose item failed by itself, and until when they are kept apart.
    suspects: HashMap<u64, Instant>,
}

impl<I, O> Line<I, O> {
    fn is_empty(&self) -> bool {
        self.later.is_empty() && self.apart.is_empty() && self.parts.is_empty()
    }

    /// Waits until the next common call may begin. A full batch has nothing to wait for.
    async fn gather(&mut self, first: usize) {
        let waiting = first + self.later.len() + self.incoming.len();
        // A timer rounds up to a millisecond, and takes a lock: none is set for a moment that is over.
        if waiting < self.limits.items && tokio::time::Instant::now() < self.next_call {
            tokio::time::sleep_until(self.next_call).await;
        }
        self.next_call = tokio::time::Instant::now() + self.limits.spacing;
    }

    /// The next common batch: items put off first, then new ones. No two share a subject, nor share one with items that wait in a
    /// part or apart. Items of one subject keep their order.
    fn next(&mut self, mut first: Option<Waiting<I, O>>) -> Vec<Waiting<I, O>> {
        let (mut batch, mut taken) = (Vec::new(), HashSet::new());
        let held_up = self.parts.iter().flatten().chain(&self.apart);
        held_up.for_each(|waiting| taken.extend(waiting.asker.subjects.iter().copied()));
        let mut put_off: HashMap<u64, usize> = HashMap::new();
        let mut older = std::mem::take(&mut self.later);
        loop {
            let is_full = batch.len() >= self.limits.items
                || self.later.len() >= BATCHES_PUT_OFF_MOST * self.limits.items;
            let (waiting, is_older) = match older.pop_front() {
                Some(waiting) => (waiting, true),
                None if is_full => break,
                None => match first.take().or_else(|| self.incoming.try_recv().ok()) {
                    Some(waiting) => (waiting, false),
                    None => break,
                },
            };
            if waiting.asker.has_given_up() {
                continue;
            }
            let subjects = &waiting.asker.subjects;
            let meets = subjects.iter().any(|subject| taken.contains(subject)) && isolates();
            taken.extend(subjects.iter().copied());
            if !meets && self.is_suspect(&waiting.asker) {
                self.apart.push_back(waiting);
            } else if !meets && batch.len() < self.limits.items {
                batch.push(waiting);
            } else {
                let of_asker = waiting.asker.name().map_or(0, |asker| {
                    let count = put_off.entry(asker).or_default();
                    *count += 1;
                    *count
                });
                if of_asker > OF_ONE_ASKER_MOST && !is_older {
                    waiting.asker.tell(self.name, Err(Error::QueueFull(self.name)));
                } else {
                    self.later.push_back(waiting);
                }
            }
        }
        batch
    }

    fn is_suspect(&mut self, asker: &Asker<O>) -> bool {
        let Some(name) = asker.name() else {
            return false;
        };
        let is_one = self
            .suspects
            .get(&name)
            .is_some_and(|until| Instant::now() < *until);
        if !is_one {
            self.suspects.remove(&name);
        }
        is_one
    }

    fn suspect(&mut self, asker: Option<u64>) {
        if self.suspects.len() >= SUSPECTS_MOST {
            let now = Instant::now();
            self.suspects.retain(|_, until| now < *until);
        }
        if let Some(asker) = asker
            && self.suspects.len() < SUSPECTS_MOST
        {
            self.suspects.insert(asker, Instant::now() + SUSPECT_LIFE);
        }
    }

    /// Tells each asker the result of their item; items to be tried again wait.
    fn settle(&mut self, mut batch: Vec<Waiting<I, O>>, results: Result<Vec<Verdict<O>>>) {
        let verdicts = match results {
            Ok(verdicts) if isolates() => verdicts,
            Ok(verdicts) if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Done(_))) => verdicts,
            Ok(_) => return self.fail(batch, &Error::unexpected("one bad item fails its batch")),
            Err(error) if batch.len() > 1 && error.may_be_one_items() && isolates() => {
                metrics::counter!(name::BATCHES_HALVED, "batch" => self.name).increment(1);
                tracing::warn!(batch = self.name, items = batch.len(), %error, "a batch has failed, and is halved");
                let half = batch.split_off(batch.len() / 2);
                self.parts.extend([batch, half]);
                return;
            }
            Err(error) => return self.fail(batch, &error),
        };
        let mut again = VecDeque::new();
        for (mut waiting, verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Done(answer) => waiting.asker.tell(self.name, Ok(answer)),
                Verdict::Failed(error) => self.fail(vec![waiting], &error),
                Verdict::Again if waiting.asker.tries < TRIES_MOST => {
                    waiting.asker.tries += 1;
                    again.push_back(waiting);
                }
                Verdict::Again => waiting.asker.tell(self.name, Err(Error::Contended(self.name))),
            }
        }
        again.append(&mut self.later);
        self.later = again;
    }

    fn fail(&mut self, batch: Vec<Waiting<I, O>>, error: &Error) {
        if let [alone] = batch.as_slice()
            && error.may_be_one_items()
        {
            self.suspect(alone.asker.name());
        }
        for waiting in batch {
            waiting.asker.tell(self.name, Err(error.clone()));
        }
    }
}

async fn run<I, O, F, Fut>(mut line: Line<I, O>, pace: Arc<Pace>, call: F)
where
    I: Clone,
    F: Fn(Batch<I>) -> Fut,
    Fut: Future<Output = Result<Vec<Verdict<O>>>>,
{
    let sizes = metrics::histogram!(name::BATCH_ITEMS, "batch" => line.name);
    loop {
        let mut first = None;
        if line.is_empty() {
            first = line.incoming.recv().await;
            if first.is_none() {
                return;
            }
        }
        if line.parts.is_empty() && line.apart.is_empty() {
            line.gather(usize::from(first.is_some())).await;
        }
        // In turn: a common batch, a part of a failed one, a suspect. So neither failures nor suspects hold everybody up.
        let batch = match line.parts.len() {
            0..PARTS_MOST => line.next(first),
            _ => Vec::new(),
        };
        let part = line.parts.pop_front().unwrap_or_default();
        let alone = Vec::from_iter(line.apart.pop_front());
        for batch in [batch, part, alone] {
            if !batch.is_empty() {
                sizes.record(batch.len() as f64);
                let began = tokio::time::Instant::now();
                let (batch, results) = carry_out(line.name, batch, &call).await;
                line.settle(batch, results);
                pace.note(began.elapsed(), line.later.len());
            }
        }
    }
}

/// Whether an item is kept from its neighbours' faults: always, but for a server with that defect.
fn isolates() -> bool {
    !Mutation::FailTogether.is_on()
}

/// Makes one call; returns the items with their results.
async fn carry_out<I, O, F, Fut>(
    name: &'static str,
    batch: Vec<Waiting<I, O>>,
    call: &F,
) -> (Vec<Waiting<I, O>>, Result<Vec<Verdict<O>>>)
where
    I: Clone,
    F: Fn(Batch<I>) -> Fut,
    Fut: Future<Output = Result<Vec<Verdict<O>>>>,
{
    let expected = batch.len();
    let (items, askers): (Vec<I>, Vec<Asker<O>>) = batch.into_iter().map(|w| (w.item, w.asker)).unzip();
    let items = Arc::new(items);
    let results = match call(items.clone()).await {
        Ok(verdicts) if verdicts.len() == expected => Ok(verdicts),
        Ok(verdicts) => Err(Error::unexpected(format!(
            "{name}: {} answers for {expected} items",
            verdicts.len()
        ))),
        Err(error) => Err(error),
    };
    let items = Arc::try_unwrap(items).unwrap_or_else(|kept| kept.to_vec());
    let batch = items.into_iter().zip(askers);
    (
        batch.map(|(item, asker)| Waiting { item, asker }).collect(),
        results,
    )
}

/// One batcher per key, made when first used. They run on the runtime where this was made, not where an item comes from, so that
/// a call to a store never waits behind thousands of sockets.
pub struct Batchers<K, I, O> {
    home: Handle,
    by_key: DashMap<K, Batcher<I, O>>,
}

impl<K: Eq + Hash + Clone, I: Clone + Send + Sync + 'static, O: Send + 'static> Default
    for Batchers<K, I, O>
{
    fn default() -> Self {
        Self {
            home: Handle::current(),
            by_key: DashMap::new(),
        }
    }
}

impl<K: Eq + Hash + Clone, I: Clone + Send + Sync + 'static, O: Send + 'static> Batchers<K, I, O> {
    pub(crate) async fn submit(&self, key: &K, item: I, make: impl FnOnce() -> Batcher<I, O>) -> Result<O> {
        self.batcher(key, make).submit(item).await
    }

    /// Adds an item to a batch without waiting; a failure is logged.
    pub fn post(&self, key: &K, item: I, make: impl FnOnce() -> Batcher<I, O>) -> Result<()> {
        self.batcher(key, make).put(item, None)
    }

    fn batcher(&self, key: &K, make: impl FnOnce() -> Batcher<I, O>) -> Batcher<I, O> {
        let known = self.by_key.get(key).map(|batcher| batcher.clone());
        known.unwrap_or_else(|| {
            let _home = self.home.enter();
            self.by_key.entry(key.clone()).or_insert_with(make).clone()
        })
    }

    /// Forgets the keys of sales that have ended; their batchers end when all waiting items are answered.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.by_key.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests;
