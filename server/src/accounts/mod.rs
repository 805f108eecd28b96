//! Operators who sign in: their passwords, sessions and tickets, and the limits of their tries. It knows nothing of HTTP, and
//! nothing of what an operator may do.

pub mod api_keys;
pub mod codes;
pub mod password;

use crate::{
    budget::{Budget, Rate},
    ladder::{Ladder, narrow_network, wait_for},
    sharing::share,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use codes::{Codes, Enrolment};
use flashsale_engine::{
    caller::Caller,
    error::Error,
    kept::Kept,
    operator::{OperatorRole, Seat, SecretHash},
    sale::ms,
    stock::Stock,
    store::{
        Store,
        accounts::{Account, CodeSeed, Invitation, Proofs, Proven},
        events::By,
    },
};
use flashsale_protocol::{Code, Reject, Role, TICKET};
use password::Passwords;
use sha2::{Digest, Sha256};
use std::{hash::Hash, net::IpAddr, sync::Arc, time::Duration};
use ulid::Ulid;

/// How long a link sets a password.
pub const LINK_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);
/// A session ends after this time without a request, and after this time in any case.
pub const SESSION_IDLE: Duration = Duration::from_secs(2 * 3600);
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long a ticket opens a socket.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// How long a process believes what it has read of a session: an operator who is removed is gone everywhere after that.
const SESSION_KNOWN: Duration = Duration::from_millis(800);
const SESSIONS_KNOWN: u64 = 10_000;
/// How long a session or key that was good is asked for again without a budget.
const GOOD_KNOWN: Duration = Duration::from_secs(600);
/// Tries to sign in or to use a link, per address.
const TRIES_OF_ADDRESS: Rate = Rate::per_minute(30, 30);
/// Tries to sign in as one operator from one network. Nobody elsewhere can use them up and so keep the operator out.
const TRIES_OF_ACCOUNT: Rate = Rate::per_minute(10, 15);
/// The same from wherever: guessing goes no faster by many networks.
const TRIES_OF_ACCOUNT_IN_ALL: Rate = Rate::per_minute(60, 120);
/// Codes tried for one operator, by somebody who knows the password: a code in a million is right.
const TRIES_OF_CODES: Rate = Rate::per_minute(1, 5);
/// Looks for sessions or keys that are not known here, per address.
const LOOKS_OF_ADDRESS: Rate = Rate::per_second(50, 100);
/// A limiter with more askers than this forgets those who have not asked for a while.
const ASKERS_MOST: usize = 10_000;
/// Longest e-mail address, in bytes.
pub const MAX_EMAIL_BYTES: usize = 254;

/// The right to be somebody until it ends.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub account: Account,
    pub session: SecretHash,
    /// In ms since 1970.
    pub expires_at: u64,
}

impl SignedIn {
    /// Who that is for commands.
    pub fn caller(&self) -> Result<Caller, Error> {
        let account = &self.account;
        let id = account.id.parse();
        let role = match account.role {
            OperatorRole::Admin => Role::Admin,
            _ => Role::Merchant,
        };
        let id = id.map_err(|_| Error::unexpected("an operator's id that is none"))?;
        let mut caller = Caller::new(id, role, self.expires_at);
        caller.set(|rare| {
            rare.seat = Some(Seat {
                merchant: account.merchant.clone(),
                role: account.role,
                session: Some(self.session),
                scopes: None,
            });
        });
        Ok(caller)
    }
}

/// A session that has just begun, with its secret for the cookie.
pub struct Begun {
    pub secret: String,
    pub signed_in: SignedIn,
}

/// A link that sets a password.
pub struct Link {
    pub account: Account,
    secret: String,
}

impl Link {
    /// The page that it leads to. The secret is in the fragment, which browsers send to nobody.
    pub fn path(&self) -> String {
        format!("/admin#invite={}", self.secret)
    }
}

pub struct Accounts {
    store: Arc<Store>,
    passwords: Passwords,
    codes: Codes,
    known: Kept<SecretHash, Option<Arc<SignedIn>>>,
    /// Sessions that were good a moment ago: they do not share a budget with those who guess.
    good: Kept<SecretHash, ()>,
    addresses: Ladder,
    accounts: Budget<(SecretHash, IpAddr)>,
    accounts_in_all: Budget<SecretHash>,
    code_tries: Budget<String>,
    looks: Budget<IpAddr>,
}

impl Accounts {
    pub fn open(store: Arc<Store>, codes: Codes) -> Result<Self, Error> {
        Ok(Self {
            store,
            passwords: Passwords::open()?,
            codes,
            known: Kept::new(SESSIONS_KNOWN, SESSION_KNOWN),
            good: good(),
            addresses: Ladder::new("sign_in", TRIES_OF_ADDRESS, None),
            accounts: Budget::new(TRIES_OF_ACCOUNT),
            accounts_in_all: Budget::new(TRIES_OF_ACCOUNT_IN_ALL),
            code_tries: Budget::new(TRIES_OF_CODES),
            looks: Budget::new(LOOKS_OF_ADDRESS),
        })
    }

    /// Signs an operator in. An unknown address gets the same answer as a wrong password, after the same time.
    pub async fn sign_in(
        &self,
        email: &str,
        password: String,
        code: Option<&str>,
        from: IpAddr,
    ) -> Result<Begun, Reject> {
        let email = email_of(email);
        // Whether somebody has the address makes no difference here.
        self.allow_try(Some(&email), from)?;
        let (account, proofs) = match self.store.operator_by_email(&email).await? {
            Some((account, proofs)) => (Some(account), proofs),
            None => (None, Proofs::default()),
        };
        let fits = self
            .fits(&email, password, proofs.password.as_deref(), from)
            .await?;
        let (Some(account), Some(password), true) = (&account, &proofs.password, fits) else {
            self.note_refused(account.as_ref(), from).await?;
            return Err(Code::SignInRefused.into());
        };
        let code = match (proofs.codes, code) {
            (Some(seed), Some(code)) => Some((seed, self.check_code(account, &seed, code, from).await?)),
            (Some(_), None) => return Err(Code::CodeNeeded.into()),
            (None, _) => None,
        };
        self.begin(account.clone(), &Proven { password, code }, from)
            .await
    }

    /// Whether the password fits. Who was told to come back, because too many are checked, has not tried.
    async fn fits(
        &self,
        email: &str,
        password: String,
        known: Option<&str>,
        from: IpAddr,
    ) -> Result<bool, Reject> {
        if password.len() > password::MAX_BYTES {
            return Ok(false);
        }
        let checked = self.passwords.fits(password, known).await;
        checked.inspect_err(|_| {
            let hash = hash_of(email);
            self.addresses.give_back(from, 1);
            self.accounts.give_back(&(hash, narrow_network(from)), 1);
            self.accounts_in_all.give_back(&hash, 1);
        })
    }

    /// Whether somebody may try now: to use a link, or to sign in as the operator of an address.
    fn allow_try(&self, email: Option<&str>, from: IpAddr) -> Result<(), Reject> {
        let wait = |reject: Reject| {
            Reject::new(Code::TooManySignIns).after_ms(reject.retry_after_ms.unwrap_or_default())
        };
        self.addresses.take(from, 1).map_err(wait)?;
        let Some(hash) = email.map(hash_of) else {
            return Ok(());
        };
        let here = (hash, narrow_network(from));
        allow(&self.accounts, &here, Code::TooManySignIns)
            .inspect_err(|_| self.addresses.give_back(from, 1))?;
        allow(&self.accounts_in_all, &hash, Code::TooManySignIns).inspect_err(|_| {
            self.addresses.give_back(from, 1);
            self.accounts.give_back(&here, 1);
        })
    }

    /// The time step of a right code.
    async fn check_code(
        &self,
        account: &Account,
        seed: &CodeSeed,
        code: &str,
        from: IpAddr,
    ) -> Result<i64, Reject> {
        allow(&self.code_tries, &account.id, Code::TooManySignIns)?;
        match self.codes.step(account, seed, code)? {
            Some(step) => {
                self.code_tries.give_back(&account.id, 1);
                Ok(step)
            }
            None => {
                self.note_refused(Some(account), from).await?;
                Err(Code::CodeRefused.into())
            }
        }
    }

    async fn note_refused(&self, account: Option<&Account>, from: IpAddr) -> Result<(), Error> {
        let id = account.map(|account| account.id.as_str());
        self.store.note_refused_sign_in(id, &from.to_string()).await
    }

    /// What an operator sets an authenticator app up with. No code is asked for before one of the app's is confirmed.
    pub fn enrol(&self, signed_in: &SignedIn) -> Result<Enrolment, Reject> {
        Ok(self.codes.enrol(&signed_in.account)?)
    }

    /// Asks this operator for codes of the app from now on. Its first one shows that it is set up.
    pub async fn begin_codes(
        &self,
        signed_in: &SignedIn,
        seed: CodeSeed,
        password: String,
        code: &str,
        from: IpAddr,
    ) -> Result<(), Reject> {
        let SignedIn { account, session, .. } = signed_in;
        let proofs = self.prove_again(account, password, from).await?;
        if proofs.codes.is_some() {
            return Err(Code::CodesThere.into());
        }
        let step = self.check_code(account, &seed, code, from).await?;
        let (password, address) = (proofs.password.unwrap_or_default(), from.to_string());
        let begun = self
            .store
            .begin_codes(&account.id, &password, (seed, step), session, &address)
            .await?;
        self.codes_changed(account, begun)
    }

    /// Asks this operator for no code any more.
    pub async fn end_codes(
        &self,
        signed_in: &SignedIn,
        password: String,
        code: &str,
        from: IpAddr,
    ) -> Result<(), Reject> {
        let SignedIn { account, session, .. } = signed_in;
        let proofs = self.prove_again(account, password, from).await?;
        let seed = proofs.codes.ok_or(Code::CodesNotThere)?;
        let step = self.check_code(account, &seed, code, from).await?;
        let (password, address) = (proofs.password.unwrap_or_default(), from.to_string());
        let ended = self
            .store
            .end_codes(&account.id, &password, (seed, step), session, &address)
            .await?;
        self.codes_changed(account, ended)
    }

    /// Whoever has found an open page does not know the password.
    async fn prove_again(&self, account: &Account, password: String, from: IpAddr) -> Result<Proofs, Reject> {
        self.allow_try(Some(&account.email), from)?;
        let found = self.store.operator_by_email(&account.email).await?;
        let (_, proofs) = found.ok_or_else(ended)?;
        let known = proofs.password.as_deref();
        if !self.fits(&account.email, password, known, from).await? {
            self.note_refused(Some(account), from).await?;
            return Err(Code::PasswordRefused.into());
        }
        Ok(proofs)
    }

    fn codes_changed(&self, account: &Account, is_changed: bool) -> Result<(), Reject> {
        if !is_changed {
            return Err(Code::CodeRefused.into());
        }
        self.forget(&account.id);
        Ok(())
    }

    /// Sets the password by a link, which works once, and signs its owner in.
    pub async fn set_password(&self, link: &str, password: String, from: IpAddr) -> Result<Begun, Reject> {
        self.allow_try(None, from)?;
        let link = hash_of(link);
        if !self.store.invite_is_open(&link).await? {
            return Err(Code::InviteUnknown.into());
        }
        let hash = self.passwords.hash(password).await?;
        let account = self.store.set_password(&link, &hash, &from.to_string()).await?;
        let account = account.ok_or(Code::InviteUnknown)?;
        self.forget(&account.id);
        let proven = Proven {
            password: &hash,
            code: None,
        };
        self.begin(account, &proven, from).await
    }

    async fn begin(&self, account: Account, proven: &Proven<'_>, from: IpAddr) -> Result<Begun, Reject> {
        let secret = new_secret();
        let session = hash_of(&secret);
        let life_s = SESSION_LIFE.as_secs_f64();
        let begun = self
            .store
            .begin_operator_session(&account.id, proven, &session, life_s, &from.to_string())
            .await?;
        // The same code was faster elsewhere; or they were removed, or got a new password, while the old one was checked.
        let refused = match proven.code {
            Some(_) => Code::CodeRefused,
            None => Code::SignInRefused,
        };
        let expires_at = ms(begun.ok_or(refused)?);
        Ok(Begun {
            secret,
            signed_in: SignedIn {
                account,
                session,
                expires_at,
            },
        })
    }

    /// The operator of a cookie's value.
    pub async fn session(&self, secret: &str, from: IpAddr) -> Result<Arc<SignedIn>, Reject> {
        let session = hash_of(secret);
        if self.known.contains(&session) {
            return self.find(session).await;
        }
        if !self.good.contains(&session) {
            allow(&self.looks, &from, Code::TooManyFromAddress)?;
        }
        let found = self.find(session).await?;
        self.good.insert(&session, ()).await;
        Ok(found)
    }

    /// Whether an operator's session goes on; anybody else has none that could end.
    pub async fn is_still_there(&self, caller: &Caller) -> Result<(), Reject> {
        let Some((seat, session)) = caller.seat().and_then(|seat| Some((seat, seat.session?))) else {
            return Ok(());
        };
        let now = self.find(session).await?;
        // Somebody whose role was changed begins anew.
        match now.account.role == seat.role && now.account.merchant == seat.merchant {
            true => Ok(()),
            false => Err(ended()),
        }
    }

    async fn find(&self, session: SecretHash) -> Result<Arc<SignedIn>, Reject> {
        let read = async {
            let row = self
                .store
                .operator_session(&session, SESSION_IDLE.as_secs_f64())
                .await?;
            Ok(row.map(|row| {
                Arc::new(SignedIn {
                    account: row.account,
                    session,
                    expires_at: ms(row.expires_at),
                })
            }))
        };
        self.known.get_or_read(&session, read).await?.ok_or_else(ended)
    }

    /// Ends this session.
    pub async fn sign_out(&self, signed_in: &SignedIn, from: IpAddr) -> Result<(), Reject> {
        let (session, id) = (&signed_in.session, &signed_in.account.id);
        self.store
            .end_operator_session(session, id, &from.to_string())
            .await?;
        self.known.forget(session).await;
        Ok(())
    }

    /// Ends all of an operator's sessions.
    pub async fn sign_out_everywhere(&self, signed_in: &SignedIn, from: IpAddr) -> Result<(), Reject> {
        let id = &signed_in.account.id;
        self.store.end_operator_sessions(id, &from.to_string()).await?;
        self.forget(id);
        Ok(())
    }

    /// A ticket that opens one socket in a session's name.
    pub async fn ticket(&self, signed_in: &SignedIn) -> Result<String, Reject> {
        let ticket = format!("{TICKET}{}", new_secret());
        let life_s = TICKET_LIFE.as_secs_f64();
        match self
            .store
            .keep_ticket(&hash_of(&ticket), &signed_in.session, life_s)
            .await?
        {
            true => Ok(ticket),
            false => Err(ended()),
        }
    }

    pub fn is_ticket(text: &str) -> bool {
        text.starts_with(TICKET)
    }

    /// The operator whose ticket this is. It is good once, and on the admin page only.
    pub async fn by_ticket(&self, ticket: &str, is_admin_page: bool) -> Result<Caller, Reject> {
        let taken = self.store.take_ticket(&hash_of(ticket)).await?;
        if !is_admin_page {
            return Err(Reject::because(
                Code::OriginRefused,
                "A ticket is good on the admin page only.",
            ));
        }
        let session =
            taken.ok_or_else(|| Reject::because(Code::TokenInvalid, "The ticket is used or too old."))?;
        Ok(self.find(session).await?.caller()?)
    }

    /// Invites somebody, or makes a new link for somebody who is there. None: an operator of another merchant has the address.
    pub async fn invite(
        &self,
        email: &str,
        merchant: Option<&str>,
        role: OperatorRole,
        within: Option<&str>,
        by: By<'_>,
    ) -> Result<Option<Link>, Error> {
        let secret = new_secret();
        let id = format!(
            "op_{}",
            Ulid::from_parts(flashsale_engine::clock::now_ms(), rand::random())
        );
        let invitation = Invitation {
            id: &id,
            email: &email_of(email),
            merchant,
            role,
            link: hash_of(&secret),
            life_s: LINK_LIFE.as_secs_f64(),
            within,
        };
        let account = self.store.invite_operator(&invitation, by).await?;
        Ok(account.map(|account| {
            self.forget(&account.id);
            Link { account, secret }
        }))
    }

    /// Whether this is an operator's id or address.
    pub async fn is_called(&self, operator: &str, name: &str) -> Result<bool, Error> {
        let found = self.store.operator_by_email(&email_of(name)).await?;
        Ok(name == operator || found.is_some_and(|(account, _)| account.id == operator))
    }

    /// Removes an operator by id or address. False: nobody is called so (at this merchant).
    pub async fn remove(&self, name: &str, within: Option<&str>, by: By<'_>) -> Result<bool, Error> {
        let removed = self.store.remove_operator(name, within, by).await?;
        if let Some(id) = &removed {
            self.forget(id);
        }
        Ok(removed.is_some())
    }

    /// The operators who are there; with `within` only those of this merchant.
    pub async fn list(&self, within: Option<&str>) -> Result<Vec<Account>, Error> {
        self.store.operator_accounts(within).await
    }

    /// Shares the limits of tries with other processes.
    pub(crate) async fn share(&self, stock: &Stock) {
        self.addresses.forget_idle();
        self.addresses.share(stock).await;
        share(stock, "account", &self.accounts, |(email, network)| {
            format!("{}:{network}", hex::encode(email))
        })
        .await;
        share(
            stock,
            "account.all",
            &self.accounts_in_all,
            |email: &SecretHash| hex::encode(email),
        )
        .await;
        share(stock, "codes", &self.code_tries, |id: &String| id.clone()).await;
    }

    /// Reads an operator's sessions anew before they are used again here. Other processes do so a second later.
    fn forget(&self, operator: &str) {
        let id = operator.to_owned();
        self.known
            .forget_if(move |known| known.as_ref().is_some_and(|known| known.account.id == id));
    }
}

/// An address as it is stored and compared.
pub fn email_of(text: &str) -> String {
    text.trim().to_lowercase()
}

/// What is wrong with an address that somebody is to be invited by.
pub fn wrong_email(text: &str) -> Option<&'static str> {
    let (name, host) = text.split_once('@').unwrap_or_default();
    let is_plain = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let is_one = !name.is_empty() && !host.is_empty() && !host.contains('@') && is_plain;
    (!is_one || text.len() > MAX_EMAIL_BYTES).then_some("must be an e-mail address")
}

/// What is wrong with a new password.
pub fn wrong_password(text: &str) -> Option<String> {
    let is_long_enough = text.chars().count() >= password::MIN_CHARS;
    (!is_long_enough || text.len() > password::MAX_BYTES).then(|| {
        format!(
            "must have at least {} characters, and at most {} bytes",
            password::MIN_CHARS,
            password::MAX_BYTES
        )
    })
}

/// What was good a moment ago, by its hash.
fn good() -> Kept<SecretHash, ()> {
    Kept::new(SESSIONS_KNOWN, GOOD_KNOWN)
}

fn ended() -> Reject {
    Reject::because(Code::TokenInvalid, "The session has ended: sign in again.")
}

fn new_secret() -> String {
    BASE64.encode(rand::random::<[u8; 32]>())
}

fn hash_of(secret: &str) -> SecretHash {
    Sha256::digest(secret).into()
}

fn allow<K: Hash + Eq + Clone>(budget: &Budget<K>, asker: &K, code: Code) -> Result<(), Reject> {
    if budget.len() > ASKERS_MOST {
        budget.forget_idle();
    }
    let taken = budget.take(asker, 1);
    taken.map(drop).map_err(|wait| wait_for(code, wait))
}
