//! What is read often and kept for a while, so that many askers at once cause one look.
//!
//! One cache of one type stands behind all of these: the compiler makes the library's code anew for each pair of a key's and a
//! value's type, and ten pairs were a sixth of this crate's code.

use crate::{
    boxed,
    error::{Error, Result},
};
use moka::future::{Cache, CacheBuilder};
use std::{any::Any, fmt::Debug, marker::PhantomData, pin::Pin, sync::Arc, time::Duration};

type Value = Arc<dyn Any + Send + Sync>;
type Read<'a> = Pin<Box<dyn Future<Output = Result<Value>> + Send + 'a>>;

/// At most so many values, by their keys. A key is known by its `Debug` text, which must name all of it.
pub struct Kept<K, V> {
    all: Erased,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: Debug, V: Clone + Send + Sync + 'static> Kept<K, V> {
    /// Each value is kept for so long after it was read.
    pub fn new(most: u64, life: Duration) -> Self {
        Self::of(Cache::builder().max_capacity(most).time_to_live(life))
    }

    /// Each value is kept until it was not asked for so long.
    pub fn while_used(most: u64, idle: Duration) -> Self {
        Self::of(Cache::builder().max_capacity(most).time_to_idle(idle))
    }

    /// As [`Self::new`], with a limit for the weight of all values instead of their number.
    pub fn weighed(most: u64, life: Duration, weight: fn(&V) -> u32) -> Self {
        let weigh = move |_: &String, value: &Value| value.downcast_ref().map_or(1, weight);
        Self::of(
            Cache::builder()
                .max_capacity(most)
                .time_to_live(life)
                .weigher(weigh),
        )
    }

    fn of(builder: CacheBuilder<String, Value, Cache<String, Value>>) -> Self {
        Self {
            all: Erased(builder.support_invalidation_closures().build()),
            types: PhantomData,
        }
    }

    pub async fn get(&self, key: &K) -> Option<V> {
        typed(&self.all.get(name(key)).await?)
    }

    pub fn contains(&self, key: &K) -> bool {
        self.all.0.contains_key(&name(key))
    }

    /// The kept value, or else what `read` finds. Askers who come meanwhile wait for it, and share its error.
    pub async fn get_or_read(&self, key: &K, read: impl Future<Output = Result<V>> + Send) -> Result<V> {
        if let Some(value) = self.get(key).await {
            return Ok(value);
        }
        let read = Box::pin(async { Ok(Arc::new(read.await?) as Value) });
        let value = self.all.get_or_read(name(key), read).await?;
        typed(&value).ok_or_else(|| Error::unexpected("a kept value of another type"))
    }

    pub async fn insert(&self, key: &K, value: V) {
        self.all.insert(name(key), Arc::new(value)).await;
    }

    pub async fn forget(&self, key: &K) {
        self.all.forget(name(key)).await;
    }

    pub fn forget_all(&self) {
        self.all.0.invalidate_all();
    }

    pub fn forget_if(&self, is_to_go: impl Fn(&V) -> bool + Send + Sync + 'static) {
        let is_to_go = move |_: &String, value: &Value| value.downcast_ref().is_some_and(&is_to_go);
        // It fails only for caches that were made without this.
        let _ = self.all.0.invalidate_entries_if(is_to_go);
    }

    pub fn values(&self) -> Vec<V> {
        self.all.0.iter().filter_map(|(_, value)| typed(&value)).collect()
    }
}

fn name(key: &impl Debug) -> String {
    format!("{key:?}")
}

fn typed<V: Clone + 'static>(value: &Value) -> Option<V> {
    value.downcast_ref::<V>().cloned()
}

/// The library's cache. Its code is made here, once.
struct Erased(Cache<String, Value>);

impl Erased {
    #[boxed]
    async fn get(&self, key: String) -> Option<Value> {
        self.0.get(&key).await
    }

    fn get_or_read<'a>(&'a self, key: String, read: Read<'a>) -> Read<'a> {
        Box::pin(async move {
            let value = self.0.try_get_with(key, read).await;
            value.map_err(|error: Arc<Error>| (*error).clone())
        })
    }

    #[boxed]
    async fn insert(&self, key: String, value: Value) {
        self.0.insert(key, value).await;
    }

    #[boxed]
    async fn forget(&self, key: String) {
        self.0.invalidate(&key).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn many_askers_cause_one_look_and_share_its_outcome() {
        let kept: Kept<u32, Option<u32>> = Kept::new(10, LONG);
        let looks = AtomicU32::new(0);
        let look = |found: Result<Option<u32>>| async {
            looks.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            found
        };
        let failed = || Err(Error::unexpected("away"));
        let (one, other) = tokio::join!(
            kept.get_or_read(&7, look(failed())),
            kept.get_or_read(&7, look(failed()))
        );
        assert!(one.is_err() && other.is_err());
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        let (one, other) = tokio::join!(
            kept.get_or_read(&7, look(Ok(Some(1)))),
            kept.get_or_read(&7, look(Ok(Some(2))))
        );
        assert_eq!((one.ok(), other.ok()), (Some(Some(1)), Some(Some(1))));
        assert_eq!(looks.load(Ordering::Relaxed), 2, "an error is not kept");
    }

    #[tokio::test]
    async fn what_is_forgotten_is_read_anew_and_the_rest_stays() {
        let kept: Kept<(u8, String), u32> = Kept::new(10, LONG);
        let key = |n: u8| (n, "name".to_owned());
        for n in 0..4_u8 {
            kept.insert(&key(n), n.into()).await;
        }
        kept.forget(&key(0)).await;
        kept.forget_if(|value| *value == 1);
        assert_eq!(kept.get(&key(0)).await, None);
        assert_eq!(kept.get(&key(1)).await, None);
        assert!(kept.contains(&key(2)));
        assert_eq!(kept.get(&(2, "another".to_owned())).await, None);
        kept.forget_all();
        assert_eq!(kept.get(&key(3)).await, None);
    }
}
