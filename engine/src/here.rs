//! The people connected to this process, what they have, and the sales they watch, as data. The gateway has the sockets
//! themselves; frames reach them through [`Deliver`].

use crate::{
    caller::Caller,
    elsewhere::Elsewhere,
    live::{Live, News},
    sale::{Named, Sale, Stake},
    stock::GatewayId,
};
use bytes::Bytes;
use dashmap::DashMap;
use flashsale_protocol::{DeviceId, EntryState, HoldState, SaleId, ServerMessage, ShopperId, Tick};
use smallvec::SmallVec;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Longest normal silence: a sale's ticks come at least once a second.
const SILENCE: Duration = Duration::from_secs(2);
/// Time that a Redis Cluster may need to elect another node after one failed.
pub const ELECTION: Duration = Duration::from_secs(20);

/// The address of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketRef {
    /// Its name among the sockets of all gateways.
    pub id: u64,
    pub shard: u32,
    pub key: u32,
}

/// Brings frames to the sockets of this process.
pub trait Deliver: Send + Sync {
    fn deliver(&self, sockets: &[SocketRef], frame: &str);
}

/// A tick with its frame, which is the same for every watcher.
#[derive(Debug)]
pub struct LiveTick {
    pub tick: Arc<Tick>,
    pub frame: Bytes,
}

/// Held as long as somebody here watches the sale.
pub type Interest = Arc<()>;

/// A watched sale.
#[derive(Default)]
struct WatchedSale {
    newest: Mutex<Option<Arc<LiveTick>>>,
    /// When the last tick came. None: no tick yet.
    heard_at: Mutex<Option<Instant>>,
    /// The sale's life in which shoppers here were last looked after.
    life: AtomicU64,
    interest: Interest,
}

impl WatchedSale {
    /// Its ticks have stopped, though not for so long that the sale must have ended.
    fn is_silent(&self) -> bool {
        let heard = *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|at| (SILENCE..ELECTION).contains(&at.elapsed()))
    }

    fn has_watchers(&self) -> bool {
        Arc::strong_count(&self.interest) > 1
    }
}

/// Somebody who has signed in on a socket here.
#[derive(Default)]
struct Present {
    /// Usually one.
    sockets: SmallVec<[SocketRef; 1]>,
    /// The device named by the newest socket.
    device: Option<DeviceId>,
    /// Behind a pointer: most people only look.
    has: Option<Box<Has>>,
}

/// What somebody has, and who they are where they have it.
#[derive(Default)]
struct Has {
    stakes: Vec<Staked>,
    /// Who they are at merchants where they have done something, or have something.
    people: Vec<Met>,
}

impl Present {
    fn stakes(&self) -> &[Staked] {
        self.has.as_ref().map_or(&[], |has| &has.stakes)
    }

    fn people(&self) -> &[Met] {
        self.has.as_ref().map_or(&[], |has| &has.people)
    }

    fn stake_in(&self, sale: SaleId) -> Option<&Staked> {
        self.stakes().iter().find(|staked| staked.sale == sale)
    }

    /// Changes what they have; the room for it ends with the last of it.
    fn change<T>(&mut self, change: impl FnOnce(&mut Has) -> T) -> T {
        let has = self.has.get_or_insert_default();
        let changed = change(has);
        if has.stakes.is_empty() && has.people.is_empty() {
            self.has = None;
        }
        changed
    }
}

/// What one person has in a sale.
struct Staked {
    sale: SaleId,
    person: ShopperId,
    stake: Stake,
}

/// Who an account is at one merchant.
struct Met {
    person: ShopperId,
    device: Option<DeviceId>,
    /// They have done something, so they may have something soon.
    acts: bool,
}

pub struct Here {
    pub id: GatewayId,
    pub elsewhere: Elsewhere,
    sales: DashMap<SaleId, WatchedSale>,
    /// By account.
    present: DashMap<ShopperId, Present>,
    /// The accounts of people whose id at a merchant is another one.
    accounts: DashMap<ShopperId, ShopperId>,
    doors: Arc<dyn Deliver>,
}

impl Here {
    pub fn new(doors: Arc<dyn Deliver>) -> Self {
        Self {
            id: GatewayId(rand::random_range(1..i64::MAX)),
            elsewhere: Elsewhere::default(),
            sales: DashMap::new(),
            present: DashMap::new(),
            accounts: DashMap::new(),
            doors,
        }
    }

    // ------------------------------------------------------------------------------------------------ who is here

    /// Adds a socket to its account. Returns the oldest ones above the limit: the newest is the one in use.
    pub fn enter(&self, caller: &Caller, socket: SocketRef, most: usize) -> SmallVec<[SocketRef; 1]> {
        let mut present = self.present.entry(caller.account.clone()).or_default();
        present.device = caller.device.clone().or(present.device.take());
        present.sockets.push(socket);
        let too_many = present.sockets.len().saturating_sub(most);
        present.sockets.drain(..too_many).collect()
    }

    /// Takes a socket out. If it was the account's last one here, returns who has what in sales.
    pub fn leave(&self, account: &ShopperId, socket: SocketRef) -> Vec<(SaleId, ShopperId, Stake)> {
        if let Some(mut present) = self.present.get_mut(account) {
            present.sockets.retain(|other| *other != socket);
        }
        let gone = self
            .present
            .remove_if(account, |_, present| present.sockets.is_empty());
        let Some((_, present)) = gone else {
            return Vec::new();
        };
        self.elsewhere.forget(account);
        let Has { stakes, people } = present.has.map_or_else(Has::default, |has| *has);
        for met in &people {
            self.accounts.remove(&met.person);
        }
        let stakes = stakes.into_iter();
        stakes
            .map(|staked| (staked.sale, staked.person, staked.stake))
            .collect()
    }

    /// Brings news of a person to the sockets of their account from now on: they do something.
    pub(crate) fn know(&self, met: &Caller) {
        self.note(met, true);
    }

    fn note(&self, met: &Caller, acts: bool) {
        if met.socket.is_some() && met.at.is_some() {
            let met_now = Met {
                person: met.shopper.clone(),
                device: met.device.clone(),
                acts,
            };
            self.note_of(met.account.as_str(), met_now);
        }
    }

    fn note_of(&self, account: &str, met: Met) {
        let Some(mut present) = self.present.get_mut(account) else {
            return;
        };
        if met.person != *present.key() {
            self.accounts.insert(met.person.clone(), present.key().clone());
        }
        present.change(|has| {
            let known = has.people.iter_mut().find(|known| known.person == met.person);
            match known {
                Some(known) => {
                    known.acts |= met.acts;
                    known.device = met.device.or(known.device.take());
                }
                None => {
                    has.people.reserve_exact(1);
                    has.people.push(met);
                }
            }
        });
    }

    /// The same for somebody who only looks. They are forgotten again with [`Self::forget_idle`] if they have nothing: most people
    /// who look have not.
    pub(crate) fn know_for_now(&self, met: &Caller) -> bool {
        let is_new = met.socket.is_some() && !self.has_met(met);
        if is_new {
            self.note(met, false);
        }
        is_new
    }

    pub(crate) fn forget_idle(&self, met: &Caller) {
        let Some(mut present) = self.present.get_mut(&met.account) else {
            return;
        };
        let before = present.people().len();
        present.change(|has| {
            has.people
                .retain(|known| known.acts || known.person != met.shopper);
            has.people.shrink_to_fit();
        });
        if present.people().len() < before {
            self.accounts.remove(&met.shopper);
        }
    }

    fn has_met(&self, met: &Caller) -> bool {
        let present = self.present.get(&met.account);
        present.is_some_and(|present| present.people().iter().any(|known| known.person == met.shopper))
    }

    /// The account of a person or account with a socket here.
    fn account_of(&self, shopper: &str) -> Option<ShopperId> {
        let account = self.accounts.get(shopper).map(|account| account.clone());
        account.or_else(|| self.present.get(shopper).map(|present| present.key().clone()))
    }

    pub fn has_shopper(&self, shopper: &str) -> bool {
        self.account_of(shopper).is_some()
    }

    /// The person with this id at the sale's merchant, or of the account with this id, if they have something in the sale.
    pub fn staked(&self, shopper: &str, sale: SaleId) -> Option<ShopperId> {
        let present = self.present.get(&self.account_of(shopper)?)?;
        Some(present.stake_in(sale)?.person.clone())
    }

    pub fn device_of(&self, person: &ShopperId) -> Option<DeviceId> {
        let present = self.present.get(&self.account_of(person.as_str())?)?;
        let met = present.people().iter().find(|known| known.person == *person);
        match met {
            Some(met) => met.device.clone(),
            None => present.device.clone(),
        }
    }

    // ------------------------------------------------------------------------------------------------ what they have

    /// Notes what a shopper has in a sale, if they have a socket here.
    pub(crate) fn stake(&self, shopper: &ShopperId, sale: SaleId, change: impl FnOnce(&mut Stake)) {
        let account = self.account_of(shopper.as_str());
        let Some(mut present) = account.and_then(|account| self.present.get_mut(&account)) else {
            return;
        };
        present.change(|Has { stakes, .. }| {
            let at = stakes.iter().position(|staked| staked.sale == sale);
            let at = at.unwrap_or_else(|| {
                // Almost everybody has one stake: a growing vector would begin with room for four.
                stakes.reserve_exact(1);
                stakes.push(Staked {
                    sale,
                    person: shopper.clone(),
                    stake: Stake::default(),
                });
                stakes.len() - 1
            });
            change(&mut stakes[at].stake);
            if stakes[at].stake == Stake::default() {
                stakes.swap_remove(at);
            }
        });
    }

    /// Whether a shopper with a socket here has a hold that still runs. If Redis knows another end, that is an earlier hold's:
    /// this one was lost, and its shopper is told so.
    pub fn is_holding(&self, shopper: &ShopperId, sale: SaleId, now: u64) -> bool {
        let stake = self.stake_of(shopper, sale);
        stake
            .and_then(|stake| stake.hold)
            .is_some_and(|hold| hold.until > now)
    }

    pub(crate) fn stake_of(&self, shopper: &ShopperId, sale: SaleId) -> Option<Stake> {
        let present = self.present.get(&self.account_of(shopper.as_str())?)?;
        Some(present.stake_in(sale)?.stake.clone())
    }

    /// What a place's name in a draw is made with. None: not known here.
    pub(crate) fn nonce_of(&self, shopper: &ShopperId, sale: SaleId, place: u64) -> Option<Named> {
        let known = self.stake_of(shopper, sale)?.place?;
        known.nonce.filter(|_| known.place == place)
    }

    /// All shoppers' stakes in a sale, in the order of the line.
    pub(crate) fn stakes(&self, sale: SaleId) -> Vec<(ShopperId, Stake)> {
        let mut found: Vec<_> = self
            .present
            .iter()
            .filter_map(|present| {
                let staked = present.stake_in(sale)?;
                Some((staked.person.clone(), staked.stake.clone()))
            })
            .collect();
        found.sort_by_key(|(_, stake)| stake.place);
        found
    }

    /// A place in line ends with the news of its end, or of the hold that came from it.
    pub fn note_end_of_place(&self, shopper: &str, news: &ServerMessage) {
        let (sale, at) = match news {
            ServerMessage::Entry(entry)
                if !matches!(entry.state, EntryState::Waiting | EntryState::Admitted) =>
            {
                (entry.sale, entry.at)
            }
            ServerMessage::Hold(hold) if hold.state == HoldState::Held => (hold.sale, hold.at),
            _ => return,
        };
        if let Some(person) = self.staked(shopper, sale) {
            self.stake(&person, sale, |stake| {
                stake.place = stake.place.filter(|place| place.at > at);
            });
        }
    }

    // ------------------------------------------------------------------------------------------------ what they are told

    /// Sends news to the shopper's sockets here, if there are any.
    pub fn deliver(&self, news: &News<'_>) {
        // They have done something through another door, so the sale has news of them from now on.
        if let Some((person, device)) = news.known_as
            && let Ok(person) = person.parse()
        {
            let device = device.and_then(|device| device.parse().ok());
            let met = Met {
                person,
                device,
                acts: true,
            };
            self.note_of(news.shopper, met);
        }
        let account = self.account_of(news.shopper);
        let Some(present) = account.and_then(|account| self.present.get(&account)) else {
            return;
        };
        let sockets: SmallVec<[SocketRef; 1]> = present
            .sockets
            .iter()
            .copied()
            .filter(|socket| news.origin != Some(socket.id))
            .collect();
        drop(present);
        if !sockets.is_empty() {
            self.doors.deliver(&sockets, news.frame);
        }
    }

    /// Tells a shopper's other sockets what one of them has done.
    pub(crate) fn tell_others(&self, live: &Live, sale: &Sale, caller: &Caller, message: ServerMessage) {
        let account = &caller.account;
        // Without a socket here nothing is known; and when a lane was lost, Redis may have lost notes of arrivals too.
        let is_known =
            caller.socket.is_some() && self.has_shopper(account.as_str()) && !sale.has_lost_a_lane();
        let Some(gateways) = self.elsewhere.known(account).filter(|_| is_known) else {
            return live.tell_others(sale.id, caller, message);
        };
        for gateway in gateways {
            live.tell_at(gateway, caller, message.clone());
        }
        self.deliver(&News {
            shopper: account.as_str(),
            known_as: None,
            origin: caller.socket,
            frame: &message.to_json(),
        });
    }

    // ------------------------------------------------------------------------------------------------ watched sales

    /// Somebody here watches a sale from now on. True: they are the first.
    pub fn watch(&self, sale: &Sale) -> (Interest, bool) {
        if let Some(watched) = self.sales.get(&sale.id) {
            return (watched.interest.clone(), false);
        }
        let watched = self.sales.entry(sale.id).or_default();
        watched.life.fetch_max(sale.life(), Ordering::AcqRel);
        (watched.interest.clone(), true)
    }

    pub fn watched(&self) -> Vec<SaleId> {
        self.sales.iter().map(|watched| *watched.key()).collect()
    }

    /// Forgets the sales that nobody here watches any more.
    pub fn forget_unwatched(&self) -> Vec<SaleId> {
        let unwatched = self.sales.iter().filter(|watched| !watched.has_watchers());
        let idle: Vec<SaleId> = unwatched.map(|watched| *watched.key()).collect();
        // Somebody may have begun to watch meanwhile.
        let forgotten = idle.into_iter().filter(|sale| {
            self.sales
                .remove_if(sale, |_, watched| !watched.has_watchers())
                .is_some()
        });
        forgotten.collect()
    }

    pub fn is_any_silent(&self) -> bool {
        self.sales.iter().any(|watched| watched.is_silent())
    }

    /// The newest tick of a sale that somebody here watches.
    pub fn last_tick(&self, sale: SaleId) -> Option<Arc<Tick>> {
        self.last_live(sale).map(|live| live.tick.clone())
    }

    pub fn last_live(&self, sale: SaleId) -> Option<Arc<LiveTick>> {
        let watched = self.sales.get(&sale)?;
        let newest = watched.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }

    /// Notes a tick. True: its sale is watched here, and this is the newest tick.
    pub fn note_tick(&self, live: &Arc<LiveTick>) -> bool {
        let Some(watched) = self.sales.get(&live.tick.sale) else {
            return false;
        };
        *watched.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut newest = watched.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = newest
            .as_ref()
            .is_none_or(|newest| newest.tick.seq < live.tick.seq);
        if is_new {
            *newest = Some(live.clone());
        }
        is_new
    }

    /// Whether a sale is in a later life than when its shoppers here were last looked after. Asking notes the new life.
    pub fn begins_life(&self, sale: SaleId, life: u64) -> bool {
        let watched = self.sales.get(&sale);
        watched.is_some_and(|watched| watched.life.fetch_max(life, Ordering::AcqRel) < life)
    }
}
