//! What operators do apart from sales: accounts, shops, keys. The audit log of a sale has what they do there.

use super::Store;
use crate::error::Result;
use serde_json::Value;
use sqlx::PgConnection;
use strum::IntoStaticStr;

/// How long it is known who did what.
const KEPT_S: f64 = 180.0 * 24.0 * 3600.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    Invited,
    PasswordSet,
    SignedIn,
    Refused,
    SignedOut,
    SignedOutEverywhere,
    Removed,
    CodesOn,
    CodesOff,
    ShopMade,
    ShopChanged,
    KeyAdded,
    KeyRevoked,
    ApiKeyMade,
    ApiKeyRevoked,
}

/// Who does something, and from where.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    pub actor: &'a str,
    /// None: the command line.
    pub address: Option<&'a str>,
}

impl By<'_> {
    /// The server itself.
    pub const SERVER: By<'static> = By {
        actor: "server",
        address: None,
    };
}

/// What happened to an account. `by` None: its operator did it.
pub(super) async fn of_account(
    connection: &mut PgConnection,
    kind: Kind,
    operator: Option<&str>,
    by: Option<&str>,
    address: Option<&str>,
) -> Result<()> {
    let word: &str = kind.into();
    sqlx::query!(
        "INSERT INTO operator_events (kind, operator_id, actor, address) VALUES ($1, $2, $3, $4)",
        word,
        operator,
        by,
        address,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What happened to a shop. `about`: the id of a key. `changed`: each field with its values before and now.
pub async fn of_shop(
    connection: &mut PgConnection,
    kind: Kind,
    merchant: &str,
    about: Option<&str>,
    changed: Option<Value>,
    by: By<'_>,
) -> Result<()> {
    let word: &str = kind.into();
    sqlx::query!(
        "INSERT INTO operator_events (kind, merchant_id, about, changed, actor, address) VALUES ($1, $2, $3, $4, $5, $6)",
        word,
        merchant,
        about,
        changed,
        by.actor,
        by.address,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what is too old.
pub(super) async fn forget_old(connection: &mut PgConnection) -> Result<()> {
    sqlx::query!(
        "DELETE FROM operator_events WHERE at < now() - make_interval(secs => $1)",
        KEPT_S,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Notes a try to sign in that was refused; None: nobody has the address.
    pub async fn note_refused_sign_in(&self, operator: Option<&str>, address: &str) -> Result<()> {
        let mut connection = self.pools.operations.acquire().await?;
        of_account(&mut connection, Kind::Refused, operator, None, Some(address)).await
    }
}
