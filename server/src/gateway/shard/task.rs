//! The connection's own commands (`hello`, `watch`, `ping`), carried out away from the shard's thread. Their answers, like those
//! of the shop's commands, come back to it as [`RequestAnswer`]s.

use crate::{
    accounts::Accounts,
    auth::Authority,
    config::Limits,
    gateway::{subscriptions::Subscriptions, throttle::Throttle},
};
use flashsale_engine::{
    caller::Caller,
    command,
    here::{Interest, SocketRef},
    presence::{self, Registration},
    shop::Shop,
};
use flashsale_protocol::{
    CloseCode, Code, CommandId, DeviceId, Done, RefusedSale, Reject, SaleId, SaleState, Welcome,
};
use smallvec::SmallVec;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The tools for sockets' requests.
pub struct Backend {
    pub shop: Arc<Shop>,
    pub subscriptions: Subscriptions,
    pub authority: Arc<Authority>,
    pub throttle: Arc<Throttle>,
    pub limits: Limits,
    /// Shoppers' commands that are being carried out.
    pub commands: Arc<AtomicUsize>,
}

/// Counts a command until it is answered, or dropped.
pub struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    pub fn new(commands: &Arc<AtomicUsize>) -> Self {
        commands.fetch_add(1, Ordering::Relaxed);
        Self(commands.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request's outcome, and its effects on the connection.
pub struct RequestAnswer {
    pub id: CommandId,
    pub outcome: Result<Done, Reject>,
    /// The client is known from now on.
    pub registration: Option<Registration>,
    /// Sales that the connection watches from now on.
    pub watched: Vec<(SaleId, Interest)>,
    /// The refusal counts against the connection.
    pub offence: bool,
    /// Older sockets of the shopper, to be closed.
    pub too_many: SmallVec<[SocketRef; 1]>,
    /// Close after the reply.
    pub close: Option<CloseCode>,
}

impl RequestAnswer {
    pub fn new(id: CommandId, outcome: Result<Done, Reject>) -> Self {
        Self {
            id,
            outcome,
            registration: None,
            watched: Vec::new(),
            offence: false,
            too_many: SmallVec::new(),
            close: None,
        }
    }

    fn offence(id: CommandId, reject: Reject) -> Self {
        Self {
            offence: true,
            ..Self::new(id, Err(reject))
        }
    }
}

/// `ping`: the time by Redis' clock.
pub async fn ping(backend: &Backend, id: CommandId, t: u64) -> RequestAnswer {
    let pong = match backend.shop.stock.clock().await {
        Ok(now) => Ok(Done::Pong { t, now }),
        Err(error) => Err(error.into()),
    };
    RequestAnswer::new(id, pong)
}

/// `watch`: the sale's state now, and its ticks from now on.
pub async fn watch(backend: &Backend, caller: &Caller, id: CommandId, sale: SaleId) -> RequestAnswer {
    match subscribe(backend, caller, sale).await {
        Ok((state, interest)) => RequestAnswer {
            watched: vec![(sale, interest)],
            ..RequestAnswer::new(id, Ok(Done::State(Box::new(state))))
        },
        Err(reject) => RequestAnswer::new(id, Err(reject)),
    }
}

/// Who says hello, besides the token.
pub struct Client {
    pub socket: SocketRef,
    /// The page, if it is another one than ours.
    pub page: Option<Arc<str>>,
    pub device: Option<DeviceId>,
}

/// `hello`: the client's identity, and the sales that it watches again.
pub async fn hello(
    backend: &Backend,
    client: Client,
    id: CommandId,
    token: &str,
    resume: Vec<SaleId>,
) -> RequestAnswer {
    let Client { socket, page, device } = client;
    let verified = match Accounts::is_ticket(token) {
        true => Box::pin(backend.authority.accounts.by_ticket(token, page.is_none())).await,
        false => backend.authority.verify(token, device.as_ref()).await,
    };
    let mut caller = match verified {
        Ok(caller) => caller,
        Err(reject) => return not_signed_in(id, reject),
    };
    if resume.len() > backend.limits.sales_per_socket {
        return RequestAnswer::offence(id, Code::TooManySales.into());
    }
    caller.socket = Some(socket.id);
    caller.set(|rare| rare.page = page);
    let caller = Arc::new(caller);
    // This comes before the state is read, so that no event falls in between.
    let too_many = backend
        .shop
        .here
        .enter(&caller, socket, backend.limits.sockets_per_shopper);
    let registration = Registration::new(backend.shop.clone(), caller.clone(), socket);
    presence::arrive(&backend.shop, &caller.account).await;
    // After a refusal here, the client may say hello again.
    let (resumed, now) = match resumed(backend, &caller, resume).await {
        Ok(resumed) => resumed,
        Err(reject) => {
            return RequestAnswer {
                too_many,
                ..RequestAnswer::new(id, Err(reject))
            };
        }
    };
    let welcome = Welcome {
        shopper: caller.account.clone(),
        role: caller.role,
        now,
        token_expires_at: caller.expires_at,
        // Two pings may be lost before the connection counts as idle.
        ping_every_ms: backend.limits.idle_timeout_ms / 3,
        states: resumed.states,
        refused: resumed.refused,
    };
    RequestAnswer {
        registration: Some(registration),
        watched: resumed.watched,
        too_many,
        ..RequestAnswer::new(id, Ok(Done::Welcome(welcome)))
    }
}

/// The answer to an operator whose session has ended meanwhile.
pub async fn session_ended(backend: &Backend, caller: &Caller, id: CommandId) -> Option<RequestAnswer> {
    let found = backend.authority.accounts.is_still_there(caller).await;
    found.err().map(|reject| not_signed_in(id, reject))
}

fn not_signed_in(id: CommandId, reject: Reject) -> RequestAnswer {
    let close = match reject.code {
        Code::TokenExpired => Some(CloseCode::TokenExpired),
        Code::TokenInvalid => Some(CloseCode::TokenInvalid),
        _ => None,
    };
    RequestAnswer {
        close,
        ..RequestAnswer::offence(id, reject)
    }
}

/// The sales that a client watches again.
#[derive(Default)]
struct Resumed {
    states: Vec<SaleState>,
    watched: Vec<(SaleId, Interest)>,
    refused: Vec<RefusedSale>,
}

/// Watches the sales again, and returns the time. One that may not be watched keeps no other from it.
async fn resumed(backend: &Backend, caller: &Caller, sales: Vec<SaleId>) -> Result<(Resumed, u64), Reject> {
    let mut resumed = Resumed::default();
    for sale in sales {
        match subscribe(backend, caller, sale).await {
            Ok((state, interest)) => {
                resumed.states.push(state);
                resumed.watched.push((sale, interest));
            }
            Err(Reject {
                code: code @ (Code::SaleUnknown | Code::WrongMerchant | Code::OriginRefused),
                ..
            }) => resumed.refused.push(RefusedSale { sale, code }),
            Err(reject) => return Err(reject),
        }
    }
    Ok((resumed, backend.shop.stock.clock().await?))
}

async fn subscribe(
    backend: &Backend,
    caller: &Caller,
    sale: SaleId,
) -> Result<(SaleState, Interest), Reject> {
    let info = backend.shop.sale(sale).await?;
    // It subscribes before it reads the state, so that no change falls in between.
    let interest = backend.subscriptions.watch(&backend.shop.here, &info).await;
    let state = command::sale_state(&backend.shop, caller, &info).await?;
    Ok((state, interest))
}
