//! `flashsale operator`, and the operator of a development server.

use crate::{
    accounts::{self, Accounts, codes::Codes},
    app::App,
    config::{CreateOperator, MerchantRole, OperatorsAt, RemoveOperator},
    embedded,
};
use anyhow::{Context, Result, bail};
use flashsale_engine::{
    merchants::Merchants,
    operator::OperatorRole,
    store::{Store, events::By},
};
use std::sync::Arc;

/// The operator whom a development server makes by itself.
pub const DEVELOPER: &str = "admin@localhost";
/// Connections of a command that asks a few things.
const CONNECTIONS: u32 = 2;
const BY: By = By {
    actor: "console",
    address: None,
};

/// Invites somebody; returns the link.
pub async fn create(config: CreateOperator) -> Result<String> {
    let email = accounts::email_of(&config.email);
    if let Some(wrong) = accounts::wrong_email(&email) {
        bail!("--email {wrong}");
    }
    let role = match config.role {
        Some(MerchantRole::Owner) => OperatorRole::Owner,
        Some(MerchantRole::Staff) => OperatorRole::Staff,
        Some(MerchantRole::Viewer) => OperatorRole::Viewer,
        None => OperatorRole::Admin,
    };
    let merchant = config.merchant;
    let link = with_store(config.at, async |store| {
        let merchant = match &merchant {
            Some(name) => {
                let known = Merchants::open(store.clone()).await?;
                let found = known.find(name);
                Some(
                    found
                        .with_context(|| format!("there is no merchant {name:?}"))?
                        .row
                        .id
                        .clone(),
                )
            }
            None => None,
        };
        let accounts = accounts(store)?;
        let link = accounts
            .invite(&email, merchant.as_deref(), role, None, BY)
            .await?;
        link.map(|link| link.path())
            .context("the address belongs to another operator")
    })
    .await?;
    let origin = config.origin.map(|origin| origin.to_string());
    Ok(origin.unwrap_or_default() + &link)
}

/// Removes somebody; returns their address.
pub async fn remove(config: RemoveOperator) -> Result<String> {
    let email = accounts::email_of(&config.email);
    let name = email.clone();
    let is_removed = with_store(config.at, async |store| {
        Ok(accounts(store)?.remove(&name, None, BY).await?)
    })
    .await?;
    if !is_removed {
        bail!("there is no operator {email:?}");
    }
    Ok(email)
}

/// A link for the admin of a development server.
pub async fn development_link(app: &App) -> Result<String> {
    let accounts = &app.authority.accounts;
    let link = accounts
        .invite(DEVELOPER, None, OperatorRole::Admin, None, BY)
        .await?;
    link.map(|link| link.path())
        .context("the address belongs to another operator")
}

/// Nobody signs in here, so no codes are checked.
fn accounts(store: Arc<Store>) -> Result<Accounts> {
    Ok(Accounts::open(store, Codes::new(Vec::new()))?)
}

async fn with_store<T>(at: OperatorsAt, work: impl AsyncFnOnce(Arc<Store>) -> Result<T>) -> Result<T> {
    let (url, services) = match at.database_url {
        Some(url) => (url, None),
        None => embedded::database(&at.data.data_dir).await?,
    };
    let done = async {
        let store = Store::connect(&url, CONNECTIONS)
            .await
            .context("cannot use Postgres")?;
        let store = Arc::new(store);
        let done = work(store.clone()).await;
        store.close().await;
        done
    };
    let done = done.await;
    if let Some(services) = services {
        services.stop().await;
    }
    done
}
