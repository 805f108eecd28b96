//! The ids of all sales. Whoever asks for one that does not exist is answered from here: a question to a store for each would let
//! anybody keep the stores busy with made-up ids.

use crate::{error::Result, store::Store};
use chrono::{DateTime, TimeDelta, Utc};
use flashsale_protocol::SaleId;
use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Shortest time between two looks for ids that are not known here, however many ask.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How far back a look goes: another process' clock may be behind, and its transaction may have taken a while.
const OVERLAP: TimeDelta = TimeDelta::hours(1);

pub(crate) struct KnownSales {
    ids: RwLock<HashSet<SaleId>>,
    last: Mutex<LastLook>,
}

struct LastLook {
    began: Instant,
    /// When the newest sale was made that is known here.
    newest: DateTime<Utc>,
}

impl KnownSales {
    pub(crate) async fn open(store: &Store) -> Result<Self> {
        let began = Instant::now();
        let all = store.sales_since(DateTime::UNIX_EPOCH).await?;
        Ok(Self {
            last: Mutex::new(LastLook {
                began,
                newest: newest(&all, DateTime::UNIX_EPOCH),
            }),
            ids: RwLock::new(all.into_iter().map(|(id, _)| id).collect()),
        })
    }

    /// Whether there is such a sale. One look answers all who were waiting when it began.
    pub(crate) async fn contains(&self, store: &Store, id: SaleId) -> Result<bool> {
        let asked = Instant::now();
        if self.has(id) {
            return Ok(true);
        }
        let mut last = self.last.lock().await;
        if self.has(id) || last.began > asked {
            return Ok(self.has(id));
        }
        tokio::time::sleep(LOOK_EVERY.saturating_sub(last.began.elapsed())).await;
        let began = Instant::now();
        let found = store.sales_since(last.newest - OVERLAP).await?;
        *last = LastLook {
            began,
            newest: newest(&found, last.newest),
        };
        let mut ids = self.ids.write().unwrap_or_else(PoisonError::into_inner);
        ids.extend(found.into_iter().map(|(id, _)| id));
        Ok(ids.contains(&id))
    }

    fn has(&self, id: SaleId) -> bool {
        self.ids
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&id)
    }
}

fn newest(sales: &[(SaleId, DateTime<Utc>)], known: DateTime<Utc>) -> DateTime<Utc> {
    sales.iter().map(|(_, at)| *at).fold(known, DateTime::max)
}
