//! Moves a sale from one phase to the next.

use super::audit::{self, Actor, AuditRow, Kind};
use crate::{error::Result, sale::phase_word};
use flashsale_protocol::{Phase, SaleId};
use serde_json::json;
use sqlx::PgConnection;

/// True: the sale was in one of the phases `from`.
pub(super) async fn move_status(
    connection: &mut PgConnection,
    sale: SaleId,
    from: &[Phase],
    to: Phase,
    actor: Actor,
) -> Result<bool> {
    let from: Vec<String> = from.iter().map(|phase| phase_word(*phase).to_owned()).collect();
    let moved = sqlx::query!(
        "UPDATE flash_sales SET status = $3 WHERE sale_id = $1 AND status = ANY($2)",
        sale.to_string(),
        &from,
        phase_word(to),
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if moved == 0 {
        return Ok(false);
    }
    let entry = AuditRow {
        sale,
        actor,
        kind: Kind::SaleStatus,
        data: json!({ "to": phase_word(to) }),
    };
    audit::write(connection, &[entry]).await?;
    Ok(true)
}
