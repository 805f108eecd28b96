//! What a connection's requests need of the stores: carried out away from the shard's thread, and brought back to it as an
//! [`Answer`]. Knows the connection's own commands (`hello`, `watch`, `ping`); all others are [`command::run`]'s.

use super::SocketRef;
use crate::{
    app::App,
    auth::Caller,
    command,
    gateway::{
        elsewhere,
        hub::{Hub, Interest, Registration},
    },
};
use flashsale_protocol::{
    CloseCode, Code, Command, CommandId, DeviceId, Done, Reject, Request, SaleId, SaleState, Welcome,
};
use std::sync::Arc;

/// A request's outcome, and what it leaves for the connection.
pub struct Answer {
    pub id: CommandId,
    pub outcome: Result<Done, Reject>,
    /// The client is known from now on.
    pub registration: Option<Registration>,
    /// Sales that the connection watches from now on.
    pub watched: Vec<(SaleId, Interest)>,
    /// The refusal counts against the connection.
    pub offence: bool,
    /// After the reply.
    pub close: Option<CloseCode>,
}

impl Answer {
    fn new(id: CommandId, outcome: Result<Done, Reject>) -> Self {
        Self {
            id,
            outcome,
            registration: None,
            watched: Vec::new(),
            offence: false,
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

/// A request of somebody who has said hello.
pub async fn run(app: &App, caller: &Caller, request: Request) -> Answer {
    let id = request.id;
    match request.command {
        Command::Ping { t } => {
            let pong = match app.stock.clock().await {
                Ok(now) => Ok(Done::Pong { t, now }),
                Err(error) => Err(error.into()),
            };
            Answer::new(id, pong)
        }
        Command::Watch { sale } => match watch(app, caller, sale).await {
            Ok((state, interest)) => Answer {
                watched: vec![(sale, interest)],
                ..Answer::new(id, Ok(Done::State(Box::new(state))))
            },
            Err(reject) => Answer::new(id, Err(reject)),
        },
        command => Answer::new(id, command::run(app, caller, Request { id, command }).await),
    }
}

pub async fn hello(
    app: &Arc<App>,
    socket: SocketRef,
    id: CommandId,
    token: &str,
    device: Option<DeviceId>,
    resume: Vec<SaleId>,
) -> Answer {
    let mut caller = match app.authority.verify(token, device) {
        Ok(caller) => caller,
        Err(reject) => {
            let close = match reject.code {
                Code::TokenExpired => Some(CloseCode::TokenExpired),
                Code::TokenInvalid => Some(CloseCode::TokenInvalid),
                _ => None,
            };
            return Answer {
                close,
                ..Answer::offence(id, reject)
            };
        }
    };
    if resume.len() > app.limits.sales_per_socket {
        return Answer::offence(id, Code::TooManySales.into());
    }
    caller.socket = Some(socket.id);
    let caller = Arc::new(caller);
    // Before the state is read, so that no event falls between the two.
    let registration = Hub::register(app, &caller, socket);
    elsewhere::arrive(app, &caller.shopper).await;
    // A refusal here is as if hello had not been said: the client may say it again.
    let (states, watched, now) = match resumed(app, &caller, resume).await {
        Ok(resumed) => resumed,
        Err(reject) => return Answer::new(id, Err(reject)),
    };
    let welcome = Welcome {
        shopper: caller.shopper.clone(),
        role: caller.role,
        now,
        token_expires_at: caller.expires_at,
        // Two may be lost before the connection counts as idle.
        ping_every_ms: app.limits.idle_timeout_ms / 3,
        states,
    };
    Answer {
        registration: Some(registration),
        watched,
        ..Answer::new(id, Ok(Done::Welcome(welcome)))
    }
}

/// Watches the sales again, and tells the time. A sale that is not there any more is left out.
async fn resumed(
    app: &App,
    caller: &Caller,
    sales: Vec<SaleId>,
) -> Result<(Vec<SaleState>, Vec<(SaleId, Interest)>, u64), Reject> {
    let (mut states, mut watched) = (Vec::new(), Vec::new());
    for sale in sales {
        match watch(app, caller, sale).await {
            Ok((state, interest)) => {
                states.push(state);
                watched.push((sale, interest));
            }
            Err(reject) if reject.code == Code::SaleUnknown => {}
            Err(reject) => return Err(reject),
        }
    }
    Ok((states, watched, app.stock.clock().await?))
}

async fn watch(app: &App, caller: &Caller, sale: SaleId) -> Result<(SaleState, Interest), Reject> {
    let info = app.sale(sale).await?;
    // Subscribed before the state is read, so that no change falls between the two.
    let interest = app.hub.watch(&info).await;
    let state = command::sale_state(app, caller, &info).await?;
    Ok((state, interest))
}
