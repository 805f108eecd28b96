//! The one performance idea, used towards Redis and towards Postgres: collect items while the last call is in flight,
//! and send what is there when it returns. No timer: an idle system adds no latency, a busy one makes large batches.

use crate::error::{Error, Result};
use crate::telemetry::name;
use dashmap::DashMap;
use std::{future::Future, hash::Hash, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Items in one call.
    pub items: usize,
    /// Items that may wait; one more is refused as busy.
    pub waiting: usize,
    /// How long an item waits for its answer.
    pub deadline: Duration,
}

struct Waiting<I, O> {
    item: I,
    /// None: nobody waits for the answer.
    answer: Option<oneshot::Sender<Result<O>>>,
}

/// Collects items of one kind for one place (a lane, a sale). Cheap to clone; ends when the last clone is gone.
pub struct Batcher<I, O> {
    name: &'static str,
    deadline: Duration,
    queue: mpsc::Sender<Waiting<I, O>>,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            deadline: self.deadline,
            queue: self.queue.clone(),
        }
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// `call` gets the items in the order of their arrival and answers in the same order.
    pub fn new<F, Fut>(name: &'static str, limits: BatchLimits, call: F) -> Self
    where
        F: Fn(Vec<I>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<O>>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(limits.waiting);
        tokio::spawn(run(name, limits.items, waiting, call));
        Self {
            name,
            deadline: limits.deadline,
            queue,
        }
    }

    /// Waits for the item's own answer. After an error the item may or may not have had its effect.
    pub async fn submit(&self, item: I) -> Result<O> {
        let (answer, answered) = oneshot::channel();
        self.put(Waiting {
            item,
            answer: Some(answer),
        })?;
        match tokio::time::timeout(self.deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::unexpected(format!(
                "the batch of {} was dropped",
                self.name
            ))),
            Err(_) => Err(Error::Deadline(self.deadline.as_millis() as u64)),
        }
    }
}

impl<I, O> Batcher<I, O> {
    fn put(&self, waiting: Waiting<I, O>) -> Result<()> {
        self.queue
            .try_send(waiting)
            .map_err(|_| Error::QueueFull(self.name))
    }
}

async fn run<I, O, F, Fut>(name: &'static str, most: usize, mut queue: mpsc::Receiver<Waiting<I, O>>, call: F)
where
    F: Fn(Vec<I>) -> Fut,
    Fut: Future<Output = Result<Vec<O>>>,
{
    let sizes = metrics::histogram!(name::BATCH_ITEMS, "batch" => name);
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, most).await > 0 {
        sizes.record(batch.len() as f64);
        let (items, answers): (Vec<_>, Vec<_>) = batch.drain(..).map(|w| (w.item, w.answer)).unzip();
        let expected = items.len();
        let results = match call(items).await {
            Ok(results) if results.len() == expected => Ok(results),
            Ok(results) => Err(Error::unexpected(format!(
                "{name}: {} answers for {expected} items",
                results.len()
            ))),
            Err(error) => Err(error),
        };
        if let Err(error) = &results
            && answers.iter().any(Option::is_none)
        {
            tracing::warn!(batch = name, %error, "a batch that nobody waits for has failed");
        }
        // An asker that has given up is not there any more; that is its right.
        let answered = |to: Option<oneshot::Sender<Result<O>>>, result| drop(to.map(|to| to.send(result)));
        match results {
            Ok(results) => answers
                .into_iter()
                .zip(results)
                .for_each(|(to, result)| answered(to, Ok(result))),
            Err(error) => answers
                .into_iter()
                .for_each(|to| answered(to, Err(error.clone()))),
        }
    }
}

/// One batcher per key, made when first used. They run where this was made, not where an item comes from: a call to a
/// store never waits in line with thousands of sockets.
pub struct Batchers<K, I, O> {
    home: Handle,
    by_key: DashMap<K, Batcher<I, O>>,
}

impl<K: Eq + Hash + Clone, I: Send + 'static, O: Send + 'static> Default for Batchers<K, I, O> {
    fn default() -> Self {
        Self {
            home: Handle::current(),
            by_key: DashMap::new(),
        }
    }
}

impl<K: Eq + Hash + Clone, I: Send + 'static, O: Send + 'static> Batchers<K, I, O> {
    pub async fn submit(&self, key: &K, item: I, make: impl FnOnce() -> Batcher<I, O>) -> Result<O> {
        self.batcher(key, make).submit(item).await
    }

    /// Leaves an item to the batch and does not wait; a failed call is logged.
    pub fn post(&self, key: &K, item: I, make: impl FnOnce() -> Batcher<I, O>) -> Result<()> {
        self.batcher(key, make).put(Waiting { item, answer: None })
    }

    fn batcher(&self, key: &K, make: impl FnOnce() -> Batcher<I, O>) -> Batcher<I, O> {
        let known = self.by_key.get(key).map(|batcher| batcher.clone());
        known.unwrap_or_else(|| {
            let _home = self.home.enter();
            self.by_key.entry(key.clone()).or_insert_with(make).clone()
        })
    }

    /// Forgets the keys of sales that are over; their batchers end when what waits is answered.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.by_key.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn limits(items: usize, waiting: usize) -> BatchLimits {
        BatchLimits {
            items,
            waiting,
            deadline: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn what_waits_while_a_call_is_in_flight_goes_out_as_one_batch_and_each_gets_its_own_answer() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (open, gate) = tokio::sync::watch::channel(false);
        let seen = sizes.clone();
        let batcher = Batcher::new("test", limits(64, 64), move |items: Vec<u32>| {
            let (seen, mut gate) = (seen.clone(), gate.clone());
            async move {
                seen.lock().expect("not poisoned").push(items.len());
                gate.wait_for(|open| *open).await.expect("open");
                Ok(items.into_iter().map(|i| i * 10).collect())
            }
        });
        let first = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.submit(1).await }
        });
        while sizes.lock().expect("not poisoned").is_empty() {
            tokio::task::yield_now().await;
        }
        let rest: Vec<_> = (2..12)
            .map(|i| {
                let batcher = batcher.clone();
                tokio::spawn(async move { batcher.submit(i).await })
            })
            .collect();
        while batcher.queue.capacity() > 54 {
            tokio::task::yield_now().await;
        }
        open.send(true).expect("received");
        assert_eq!(first.await.expect("joins").expect("answers"), 10);
        for (i, task) in (2..12).zip(rest) {
            assert_eq!(task.await.expect("joins").expect("answers"), i * 10);
        }
        assert_eq!(*sizes.lock().expect("not poisoned"), vec![1, 10]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_instead_of_growing() {
        let batcher = Batcher::new("test", limits(1, 1), |_: Vec<u32>| {
            std::future::pending::<Result<Vec<u32>>>()
        });
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..10 {
            let batcher = batcher.clone();
            tasks.spawn(async move { batcher.submit(i).await });
        }
        let first = tasks.join_next().await.expect("one ends").expect("joins");
        assert!(matches!(first, Err(Error::QueueFull("test"))), "{first:?}");
    }

    #[tokio::test]
    async fn a_failed_call_is_told_to_every_item() {
        let batcher = Batcher::new("test", limits(8, 8), |_: Vec<u32>| async {
            Err::<Vec<u32>, _>(Error::LaneMissing)
        });
        assert!(matches!(batcher.submit(1).await, Err(Error::LaneMissing)));
    }
}
