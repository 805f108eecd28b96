//! Pictures of products: the files, each stored once per shop however many sales show it. What pages need to know of one stands in its
//! sale's row.

use super::{Store, audit::Kind, operators::OperatorChange};
use crate::{
    boxed,
    error::Result,
    sale::{Picture, Sale},
};
use serde_json::json;
use sqlx::types::Json;

/// A megabyte of the quota.
const MB: i64 = 1_000_000;

/// A picture to be kept, with its files by width.
#[derive(Debug, Clone)]
pub struct NewPicture {
    pub picture: Picture,
    pub files: Vec<(u32, Vec<u8>)>,
}

impl NewPicture {
    fn bytes(&self) -> i64 {
        self.files.iter().map(|(_, file)| file.len() as i64).sum()
    }
}

/// The outcome of showing a picture.
#[derive(Debug, PartialEq, Eq)]
pub enum Pictured {
    Ok,
    /// The shop's pictures would have more megabytes than it may have.
    Full,
}

impl Store {
    /// A file of a picture, JPEG. Everybody may see it.
    #[boxed]
    pub async fn picture_file(&self, picture: &str, width: u32) -> Result<Option<Vec<u8>>> {
        Ok(sqlx::query_scalar!(
            "SELECT file FROM picture_files WHERE picture_id = $1 AND width = $2",
            picture,
            width as i32,
        )
        .fetch_optional(&self.pools.public)
        .await?)
    }
}

impl OperatorChange {
    /// Shows another picture, or none. The one before is deleted unless another sale of the shop shows it. Changes of one shop's
    /// pictures follow each other, so that eight at once do not pass the quota, and none is deleted that is shown.
    #[boxed]
    pub async fn set_picture(
        &mut self,
        sale: &Sale,
        new: Option<&NewPicture>,
        most_mb: i32,
    ) -> Result<Pictured> {
        sqlx::query!(
            "SELECT merchant_id FROM merchants WHERE merchant_id = $1 FOR NO KEY UPDATE",
            sale.merchant
        )
        .fetch_optional(self.connection())
        .await?;
        let picture = new.map(|new| &new.picture);
        if picture == sale.picture.as_ref() {
            return Ok(Pictured::Ok);
        }
        if let Some(new) = new {
            if self.would_have(sale, new).await? > i64::from(most_mb) * MB {
                return Ok(Pictured::Full);
            }
            self.keep_picture(&sale.merchant, new).await?;
        }
        sqlx::query!(
            "UPDATE flash_sales SET picture = $2 WHERE sale_id = $1",
            sale.id.to_string(),
            picture.map(Json) as Option<Json<&Picture>>,
        )
        .execute(self.connection())
        .await?;
        self.drop_unseen(&sale.merchant).await?;
        let id = |picture: Option<&Picture>| picture.map(|picture| picture.id.clone());
        let data = json!({ "from": id(sale.picture.as_ref()), "to": id(picture) });
        self.set(Kind::PictureChanged, data).await?;
        Ok(Pictured::Ok)
    }

    /// Bytes of the shop's pictures if this sale showed the new one.
    async fn would_have(&mut self, sale: &Sale, new: &NewPicture) -> Result<i64> {
        let of_others = sqlx::query_scalar!(
            r#"SELECT coalesce(sum(bytes), 0)::bigint AS "bytes!" FROM pictures p
               WHERE merchant_id = $1 AND picture_id <> $3 AND EXISTS (
                   SELECT 1 FROM flash_sales s
                   WHERE s.merchant_id = $1 AND s.sale_id <> $2 AND s.picture ->> 'id' = p.picture_id)"#,
            sale.merchant,
            sale.id.to_string(),
            new.picture.id,
        )
        .fetch_one(self.connection())
        .await?;
        Ok(of_others + new.bytes())
    }

    async fn keep_picture(&mut self, merchant: &str, new: &NewPicture) -> Result<()> {
        let is_new = sqlx::query!(
            "INSERT INTO pictures (picture_id, merchant_id, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            new.picture.id,
            merchant,
            new.bytes(),
        )
        .execute(self.connection())
        .await?
        .rows_affected()
            > 0;
        if !is_new {
            return Ok(());
        }
        let (widths, files): (Vec<i32>, Vec<Vec<u8>>) = new
            .files
            .iter()
            .map(|(width, file)| (*width as i32, file.clone()))
            .unzip();
        sqlx::query!(
            "INSERT INTO picture_files (picture_id, width, file)
             SELECT $1, width, file FROM unnest($2::int[], $3::bytea[]) AS i (width, file)",
            new.picture.id,
            &widths,
            &files,
        )
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Deletes the shop's pictures that no sale of it shows.
    async fn drop_unseen(&mut self, merchant: &str) -> Result<()> {
        let unseen = sqlx::query_scalar!(
            "SELECT picture_id FROM pictures p WHERE merchant_id = $1 AND NOT EXISTS (
                SELECT 1 FROM flash_sales s WHERE s.merchant_id = $1 AND s.picture ->> 'id' = p.picture_id)",
            merchant,
        )
        .fetch_all(self.connection())
        .await?;
        if unseen.is_empty() {
            return Ok(());
        }
        sqlx::query!("DELETE FROM picture_files WHERE picture_id = ANY($1)", &unseen)
            .execute(self.connection())
            .await?;
        sqlx::query!("DELETE FROM pictures WHERE picture_id = ANY($1)", &unseen)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
