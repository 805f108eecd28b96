-- The audit log becomes one chain per sale: each row carries the hash of the one before it (docs/audit.md says how it is made).

-- The end of each sale's chain. Locked by whoever adds to it, last of all locks: orders, then lanes, then this.
CREATE TABLE audit_heads (
    sale_id TEXT PRIMARY KEY REFERENCES flash_sales,
    number  BIGINT NOT NULL DEFAULT 0,
    hash    BYTEA NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32)
) WITH (fillfactor = 50);

-- What was written without a chain stays as it was.
ALTER TABLE audit_log RENAME TO audit_log_unchained;
ALTER TABLE audit_log_unchained RENAME CONSTRAINT audit_log_pkey TO audit_log_unchained_pkey;
ALTER INDEX audit_log_by_sale RENAME TO audit_log_unchained_by_sale;

-- Rows come through audit_heads only, which refers to the sale: no reference here, it would cost a look-up per row.
CREATE TABLE audit_log (
    sale_id  TEXT NOT NULL,
    -- 1, 2, … per sale, without a gap.
    number   BIGINT NOT NULL CHECK (number > 0),
    at       TIMESTAMPTZ NOT NULL,
    -- Who: a token's subject, or the worker's name.
    actor    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    data     JSONB NOT NULL,
    -- The hash of row number - 1; zeros in the first.
    previous BYTEA NOT NULL CHECK (length(previous) = 32),
    hash     BYTEA NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (sale_id, number)
);

CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();
-- Also under session_replication_role = replica.
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER append_only;

-- Sales that are older than the chain: it begins with where they stand.
WITH begun AS (
    SELECT s.sale_id, clock_timestamp() AS at, format(
        '{"abandoned":%s,"cancelled":%s,"confirmed":%s,"lanes":[%s],"pending":%s,"price":%s,"revenue":%s,"status":"%s","stock":%s}',
        o.abandoned, o.cancelled, o.confirmed, l.lanes, o.pending, s.sale_price, o.revenue, s.status, s.total_stock) AS data
    FROM flash_sales s
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE quantity_allocated = 0) AS abandoned,
            count(*) FILTER (WHERE status = 'cancelled' AND quantity_allocated > 0) AS cancelled,
            count(*) FILTER (WHERE status = 'confirmed') AS confirmed,
            count(*) FILTER (WHERE status = 'pending') AS pending,
            coalesce(sum(amount) FILTER (WHERE status = 'confirmed'), 0) AS revenue
        FROM flash_sale_orders WHERE sale_id = s.sale_id) o
    CROSS JOIN LATERAL (
        SELECT string_agg(format('{"allocated":%s,"confirmed":%s,"epoch":%s,"lane":%s,"supply":%s}',
            allocated, confirmed, epoch, lane, supply), ',' ORDER BY lane) AS lanes
        FROM sale_lanes WHERE sale_id = s.sale_id) l
), rows AS (
    INSERT INTO audit_log
    SELECT sale_id, 1, at, 'migration', 'log_begun', data::jsonb, decode(repeat('00', 32), 'hex'),
        sha256(convert_to(format('["%s",1,%s,"migration","log_begun",%s,"%s"]',
            sale_id, (extract(epoch FROM at) * 1000000)::bigint, data, repeat('0', 64)), 'UTF8'))
    FROM begun RETURNING sale_id, number, hash
)
INSERT INTO audit_heads SELECT sale_id, number, hash FROM rows;
