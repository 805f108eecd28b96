-- Pictures of products: what a shop has uploaded, re-encoded in several widths.

ALTER TABLE merchants
    -- Quota: megabytes of pictures.
    ADD COLUMN picture_mb INT NOT NULL DEFAULT 200 CHECK (picture_mb >= 0);

CREATE TABLE pictures (
    -- A hash of the shop and the files: it never stands for other bytes.
    picture_id  TEXT PRIMARY KEY CHECK (picture_id ~ '^[0-9a-f]{32}$'),
    merchant_id TEXT NOT NULL REFERENCES merchants,
    -- Of all its files.
    bytes       BIGINT NOT NULL CHECK (bytes > 0),
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX pictures_of_merchant ON pictures (merchant_id);

CREATE TABLE picture_files (
    picture_id TEXT NOT NULL REFERENCES pictures,
    width      INT NOT NULL CHECK (width > 0),
    -- JPEG.
    file       BYTEA NOT NULL,
    PRIMARY KEY (picture_id, width)
);
-- It is compressed already.
ALTER TABLE picture_files ALTER COLUMN file SET STORAGE EXTERNAL;

ALTER TABLE flash_sales
    -- {id, width, height, widths, alt}: what pages need to show it, so that reading a sale reads no other table. NULL: it has none.
    ADD COLUMN picture JSONB CHECK (jsonb_typeof(picture) = 'object');
