-- The audit log of sales of format 2: one chain for each lane and one for the sale, so that commits of different lanes do not wait
-- for each other. Sales of format 1 keep audit_log and audit_heads; a release before this one knows only those.

-- The end of each chain; `lane` -1 is the sale's own. Locked by the writer last of all: orders, lanes, then these by lane, and the
-- sales' own after all lanes'.
CREATE TABLE audit_chains (
    sale_id TEXT NOT NULL REFERENCES flash_sales,
    lane    SMALLINT NOT NULL CHECK (lane >= -1),
    number  BIGINT NOT NULL DEFAULT 0,
    hash    BYTEA NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32),
    -- In the sale's own chain: the lanes' rows in all when the lanes' heads were last tied.
    tied    BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (sale_id, lane)
) WITH (fillfactor = 50);

CREATE TABLE audit_rows (
    sale_id  TEXT NOT NULL,
    lane     SMALLINT NOT NULL CHECK (lane >= -1),
    -- 1, 2, … per chain, without a gap.
    number   BIGINT NOT NULL CHECK (number > 0),
    at       TIMESTAMPTZ NOT NULL,
    -- Who: kind, id, on_behalf_of. A shopper's id is a pseudonym.
    actor    JSONB NOT NULL,
    kind     TEXT NOT NULL,
    data     JSONB NOT NULL,
    previous BYTEA NOT NULL CHECK (length(previous) = 32),
    hash     BYTEA NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (sale_id, lane, number)
);

CREATE FUNCTION audit_rows_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_rows is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_rows
    FOR EACH STATEMENT EXECUTE FUNCTION audit_rows_is_append_only();
-- Also under session_replication_role = replica.
ALTER TABLE audit_rows ENABLE ALWAYS TRIGGER append_only;

-- The key of a sale's pseudonyms. Without its row nobody can tell whose pseudonym is whose; the chains do not need it.
CREATE TABLE sale_salts (
    sale_id TEXT PRIMARY KEY REFERENCES flash_sales,
    salt    BYTEA NOT NULL CHECK (length(salt) = 32)
);

-- The lane whose chain has lost rows; NULL: the sale's own, or the only one of a sale of format 1.
ALTER TABLE disasters ADD COLUMN lane SMALLINT;
