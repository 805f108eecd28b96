//! Lists of sales: what people can buy now first, then what comes, then what is over. Merchants take turns in the list, so that
//! nobody hides another's sales behind their own.

use super::{
    Store,
    sales::{SaleRow, with_lanes},
};
use crate::{
    boxed,
    error::Result,
    sale::{Picture, Sale},
};
use flashsale_protocol::SaleId;
use sqlx::types::Json;
use std::{fmt, str::FromStr};

/// Sales in one page, at most.
pub const PAGE_MOST: i64 = 100;

/// Which sales are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// A merchant's id; None: everybody's.
    pub merchant: Option<String>,
    /// None: all of them.
    pub group: Option<Group>,
    pub after: Option<Cursor>,
    /// 1 to [`PAGE_MOST`].
    pub limit: i64,
}

impl Wanted {
    /// The first page of everybody's sales.
    pub fn first() -> Self {
        Self {
            limit: PAGE_MOST,
            ..Self::default()
        }
    }
}

/// A part of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    Live,
    Coming,
    Over,
}

impl Group {
    const ALL: [(Group, &str); 3] = [
        (Self::Live, "live"),
        (Self::Coming, "coming"),
        (Self::Over, "over"),
    ];

    const fn number(self) -> i32 {
        self as i32
    }
}

impl FromStr for Group {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(_, its)| *its == word);
        found
            .map(|(group, _)| *group)
            .ok_or("must be live, coming or over")
    }
}

/// Where a page ended: the next one begins behind it, whatever has come or gone meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    group: i32,
    nth: i64,
    key: i64,
    sale: SaleId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}_{}", self.group, self.nth, self.key, self.sale)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be the `next` of a list";
        let mut parts = text.split('_');
        let mut part = || parts.next().ok_or(WRONG);
        let cursor = Self {
            group: part()?.parse().map_err(|_| WRONG)?,
            nth: part()?.parse().map_err(|_| WRONG)?,
            key: part()?.parse().map_err(|_| WRONG)?,
            sale: part()?.parse().map_err(|_| WRONG)?,
        };
        match cursor.to_string() == text {
            true => Ok(cursor),
            false => Err(WRONG),
        }
    }
}

/// A page of a list.
pub struct Page {
    pub sales: Vec<Sale>,
    /// None: this was the last page.
    pub next: Option<Cursor>,
}

impl Store {
    /// A page of sales.
    #[boxed]
    pub async fn list_sales(&self, wanted: &Wanted) -> Result<Page> {
        let limit = wanted.limit.clamp(1, PAGE_MOST);
        let after = wanted.after.as_ref();
        // The running ones are few and are ranked whole; of those that are over only the page is read.
        let ranked = sqlx::query!(
            r#"WITH running AS (
                 SELECT sale_id, merchant_id, CASE WHEN start_time <= now() THEN 0 ELSE 1 END AS grp,
                    (extract(epoch FROM start_time) * 1000)::bigint AS key
                 FROM flash_sales WHERE status NOT IN ('ended', 'cancelled') AND ($1::text IS NULL OR merchant_id = $1)
               ), over AS (
                 SELECT sale_id, -(extract(epoch FROM end_time) * 1000)::bigint AS key
                 FROM flash_sales WHERE status IN ('ended', 'cancelled') AND ($1::text IS NULL OR merchant_id = $1)
                    AND ($3::int < 2 OR (-(extract(epoch FROM end_time) * 1000)::bigint, sale_id) > ($5::bigint, $6::text))
                 ORDER BY end_time DESC, sale_id LIMIT $7::bigint + 1
               ), ranked AS (
                 SELECT sale_id, grp, row_number() OVER (PARTITION BY grp, merchant_id ORDER BY key, sale_id) AS nth, key
                 FROM running
                 UNION ALL SELECT sale_id, 2, 0, key FROM over
               )
               SELECT sale_id AS "sale_id!", grp AS "grp!", nth AS "nth!", key AS "key!" FROM ranked
               WHERE ($2::int IS NULL OR grp = $2) AND (grp, nth, key, sale_id) > ($3::int, $4::bigint, $5::bigint, $6::text)
               ORDER BY grp, nth, key, sale_id LIMIT $7::bigint + 1"#,
            wanted.merchant,
            wanted.group.map(Group::number),
            after.map_or(-1, |after| after.group),
            after.map_or(0, |after| after.nth),
            after.map_or(0, |after| after.key),
            after.map_or(String::new(), |after| after.sale.to_string()),
            limit,
        )
        .fetch_all(&self.pools.public)
        .await?;
        let has_more = ranked.len() as i64 > limit;
        let ranked = &ranked[..ranked.len().min(limit as usize)];
        let next = ranked.last().filter(|_| has_more).and_then(|last| {
            Some(Cursor {
                group: last.grp,
                nth: last.nth,
                key: last.key,
                sale: last.sale_id.parse().ok()?,
            })
        });
        let ids: Vec<String> = ranked.iter().map(|row| row.sale_id.clone()).collect();
        let rows = sqlx::query_as!(
            SaleRow,
            r#"SELECT s.sale_id, merchant_id, product_id, product_name, description, currency, original_price, sale_price,
                total_stock, room_opens_at, start_time, end_time, per_shopper_limit, per_device_limit, hold_ms,
                claim_ms, payment_ms, inflow, inflow_cut_at, target_delay_ms, allocation, draw_weight, opening_seed, priority_share, absence_ms,
                cancel_limit, extend_once, status, created_at, settings_version, format, picture AS "picture: Json<Picture>", terms_url, terms_version,
                (SELECT m.status = 'suspended' FROM merchants m WHERE m.merchant_id = s.merchant_id) AS "is_suspended!"
             FROM unnest($1::text[]) WITH ORDINALITY AS page (sale_id, nth) JOIN flash_sales s USING (sale_id)
             ORDER BY page.nth"#,
            &ids,
        )
        .fetch_all(&self.pools.public)
        .await?;
        let sales = with_lanes(&mut *self.pools.public.acquire().await?, rows).await?;
        Ok(Page { sales, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        let cursor = Cursor {
            group: 2,
            nth: 0,
            key: -1_700_000_000_000,
            sale: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("an id"),
        };
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        for wrong in [
            "",
            "1",
            "1_2_3",
            &format!("{text}_1"),
            &format!("+{text}"),
            &text.to_lowercase(),
        ] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
