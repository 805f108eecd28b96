use super::*;
use std::sync::Mutex;
use tokio::{sync::watch, task::JoinHandle};

fn limits(items: usize, waiting: usize) -> BatchLimits {
    BatchLimits {
        items,
        waiting,
        deadline: Duration::from_secs(5),
        spacing: Duration::ZERO,
    }
}

/// A call that waits until it is released, so that later items form one line; it notes its batches.
struct Held {
    batcher: Batcher<u32, u32>,
    open: watch::Sender<bool>,
    batches: Arc<Mutex<Vec<Vec<u32>>>>,
}

/// Items with the same tens digit belong to one asker. Items that end in 9 are bad: a batch with one fails as a whole.
fn asker(item: &u32) -> Subjects {
    [subject(item / 10)].into_iter().collect()
}

fn held(items: usize, subjects: fn(&u32) -> Subjects) -> Held {
    let batches = Arc::new(Mutex::new(Vec::new()));
    let (open, gate) = watch::channel(false);
    let noted = batches.clone();
    let batcher = Batcher::new(
        "test",
        limits(items, 4_096),
        subjects,
        move |items: Batch<u32>| {
            let (noted, mut gate) = (noted.clone(), gate.clone());
            async move {
                noted.lock().expect("not poisoned").push(items.to_vec());
                gate.wait_for(|open| *open).await.expect("open");
                match items.iter().any(|item| item % 10 == 9) {
                    true => Err(Error::unexpected("a bad item")),
                    false => Ok(items.iter().map(|item| item * 10).collect()),
                }
            }
        },
    );
    Held {
        batcher,
        open,
        batches,
    }
}

impl Held {
    /// Sends the first item, and the others once its call is under way, so that they wait in this order.
    async fn send(&self, items: &[u32]) -> Vec<JoinHandle<Result<u32>>> {
        let mut sent = Vec::new();
        let room = self.batcher.queue.max_capacity();
        for (before, item) in items.iter().enumerate() {
            let (batcher, item) = (self.batcher.clone(), *item);
            sent.push(tokio::spawn(async move { batcher.submit(item).await }));
            let is_there = || match before {
                0 => !self.batches().is_empty(),
                _ => self.batcher.queue.capacity() == room - before,
            };
            while !is_there() {
                tokio::task::yield_now().await;
            }
        }
        sent
    }

    async fn answers(&self, items: &[u32]) -> Vec<Result<u32>> {
        let sent = self.send(items).await;
        self.open.send(true).expect("received");
        let mut answers = Vec::new();
        for task in sent {
            answers.push(task.await.expect("joins"));
        }
        answers
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.batches.lock().expect("not poisoned").clone()
    }
}

#[tokio::test]
async fn what_waits_while_a_call_is_in_flight_goes_out_as_one_batch_and_each_gets_its_own_answer() {
    let held = held(64, nobody_s);
    let items: Vec<u32> = (1..9).collect();
    let answers = held.answers(&items).await;
    for (item, answer) in items.iter().zip(answers) {
        assert_eq!(answer.expect("answers"), item * 10);
    }
    assert_eq!(held.batches(), [vec![1], (2..9).collect()]);
}

#[tokio::test]
async fn a_full_queue_refuses_instead_of_growing() {
    let batcher = Batcher::new("test", limits(1, 1), nobody_s, |_: Batch<u32>| {
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

#[tokio::test(start_paused = true)]
async fn what_cannot_be_answered_in_time_is_refused_at_once_and_the_others_are_answered_in_time() {
    const CALL: Duration = Duration::from_secs(1);
    let batcher = Batcher::new(
        "test",
        limits(2, 4_096),
        nobody_s,
        |items: Batch<u32>| async move {
            tokio::time::sleep(CALL).await;
            Ok(items.to_vec())
        },
    );
    batcher
        .submit(0)
        .await
        .expect("the first call shows how long one takes");
    let began = tokio::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..100 {
        let batcher = batcher.clone();
        tasks.spawn(async move { (batcher.submit(i).await, began.elapsed()) });
    }
    let (mut answered, mut refused) = (0, 0);
    while let Some(joined) = tasks.join_next().await {
        match joined.expect("joins") {
            (Ok(_), after) => {
                assert!(after <= limits(2, 1).deadline, "{after:?}");
                answered += 1;
            }
            (Err(Error::QueueFull(_)), after) => {
                assert!(after < CALL, "refused after {after:?}");
                refused += 1;
            }
            (Err(error), after) => panic!("{error} after {after:?}"),
        }
    }
    assert_eq!(answered + refused, 100);
    assert!(answered >= 6, "{answered}");
}

#[tokio::test]
async fn a_store_that_is_away_is_told_to_every_item_without_trying_each() {
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let batcher = Batcher::new("test", limits(8, 8), asker, move |_: Batch<u32>| {
        *counted.lock().expect("not poisoned") += 1;
        async { Err::<Vec<u32>, _>(Error::LaneMissing) }
    });
    let (a, b) = tokio::join!(batcher.submit(1), batcher.submit(11));
    assert!(matches!(
        (a, b),
        (Err(Error::LaneMissing), Err(Error::LaneMissing))
    ));
    assert!(*calls.lock().expect("not poisoned") <= 2);
}

#[tokio::test]
async fn one_bad_item_fails_alone_wherever_it_stands() {
    for bad in [10, 17, 35, 52] {
        let held = held(64, asker);
        let items: Vec<u32> = (1..60).map(|n| n * 10 + if n == bad { 9 } else { 1 }).collect();
        let answers = held.answers(&items).await;
        for (item, answer) in items.iter().zip(answers) {
            match item % 10 {
                9 => assert!(matches!(answer, Err(Error::Unexpected(_))), "{item}"),
                _ => assert_eq!(answer.expect("not its neighbour's fault"), item * 10),
            }
        }
        // The first item alone, the others, and two calls for each halving.
        assert!(held.batches().len() <= 2 + 2 * 6, "{}", held.batches().len());
    }
}

#[tokio::test]
async fn items_of_one_subject_never_share_a_batch_and_keep_their_order() {
    let held = held(64, asker);
    let answers = held.answers(&[1, 20, 21, 30, 22, 40, 23]).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(
        held.batches(),
        [vec![1], vec![20, 30, 40], vec![21], vec![22], vec![23]]
    );
}

#[tokio::test]
async fn whoever_failed_alone_is_kept_apart_and_costs_the_others_no_halving_again() {
    let held = held(64, asker);
    // Asker 5 is bad again and again, yet each time the others' batch stays whole.
    let mut items = vec![1, 59];
    let rounds = 20;
    for round in 0..rounds {
        items.push(59);
        items.extend((10..40).map(|asker| asker * 10 + round % 9));
    }
    let answers = held.answers(&items).await;
    for (item, answer) in items.iter().zip(answers) {
        assert_eq!(answer.is_ok(), item % 10 != 9, "{item}");
    }
    let shared = held
        .batches()
        .iter()
        .filter(|batch| batch.len() > 1 && batch.contains(&59))
        .count();
    assert!(shared <= 7, "{shared} batches were failed by the same asker");
}

#[tokio::test]
async fn what_somebody_else_was_in_the_way_of_is_tried_again_and_not_for_ever() {
    let tries = Arc::new(Mutex::new(Vec::new()));
    let noted = tries.clone();
    let batcher = Batcher::with_verdicts("test", limits(8, 8), asker, move |items: Batch<u32>| {
        let mut noted = noted.lock().expect("not poisoned");
        let verdicts = items.iter().map(|item| {
            noted.push(*item);
            let before = noted.iter().filter(|other| *other == item).count();
            match item {
                1 if before < 3 => Verdict::Again,
                21 => Verdict::Again,
                _ => Verdict::Done(*item),
            }
        });
        let verdicts = verdicts.collect();
        async move { Ok(verdicts) }
    });
    let (a, b, c) = tokio::join!(batcher.submit(1), batcher.submit(11), batcher.submit(21));
    assert_eq!((a.expect("the third try"), b.expect("at once")), (1, 11));
    assert!(matches!(c, Err(Error::Contended("test"))), "{c:?}");
    let tries = tries
        .lock()
        .expect("not poisoned")
        .iter()
        .filter(|item| **item == 21)
        .count();
    assert_eq!(tries, TRIES_MOST as usize + 1);
}

#[tokio::test]
async fn one_asker_s_items_pile_up_to_a_limit_and_refuse_nobody_else() {
    let held = held(64, asker);
    let mut items = vec![1];
    items.extend(std::iter::repeat_n(50, OF_ONE_ASKER_MOST * 2));
    items.push(61);
    let answers = held.answers(&items).await;
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Err(Error::QueueFull(_))))
        .count();
    assert_eq!(refused, OF_ONE_ASKER_MOST - 1);
    assert!(answers.last().is_some_and(Result::is_ok));
}

/// By a clock that stands still while something is to be done.
#[tokio::test(start_paused = true)]
async fn calls_that_follow_each_other_begin_apart_and_an_idle_place_answers_at_once() {
    const APART: Duration = Duration::from_millis(300);
    let began = tokio::time::Instant::now();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    let limits = BatchLimits {
        spacing: APART,
        ..limits(4, 4_096)
    };
    let batcher = Batcher::new("test", limits, nobody_s, move |items: Batch<u32>| {
        noted
            .lock()
            .expect("not poisoned")
            .push((began.elapsed(), items.len()));
        async move { Ok(items.to_vec()) }
    });
    batcher.submit(0).await.expect("an answer");
    assert!(began.elapsed() < APART, "nobody waits for somebody who may come");
    let three = (1..4).map(|item| batcher.submit(item));
    futures_util::future::try_join_all(three).await.expect("answers");
    assert!(began.elapsed() >= APART);
    let full = (4..8).map(|item| batcher.submit(item));
    futures_util::future::try_join_all(full).await.expect("answers");
    let calls = calls.lock().expect("not poisoned").clone();
    let sizes: Vec<usize> = calls.iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes, [1, 3, 4]);
    assert!(
        calls[2].0 - calls[1].0 < APART,
        "a full batch has nothing to wait for: {calls:?}"
    );
}
