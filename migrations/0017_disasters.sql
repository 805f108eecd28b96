-- Times at which Postgres knew less of a sale than Redis did: promoted without its tail, or restored to an earlier moment. Nothing is
-- sold until an operator has confirmed it.
CREATE TABLE disasters (
    disaster_id    TEXT PRIMARY KEY CHECK (length(disaster_id) = 26),
    sale_id        TEXT NOT NULL REFERENCES flash_sales,
    noticed_at     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    -- When the last row was written that is left of before: what came between these two is lost.
    lost_since     TIMESTAMPTZ NOT NULL,
    -- The row of the audit log that is known to have been committed, and the last one that was found.
    known_number   BIGINT NOT NULL,
    found_number   BIGINT NOT NULL,
    confirmed_at   TIMESTAMPTZ,
    confirmed_by   TEXT,
    -- Since when it is sold again.
    opened_at      TIMESTAMPTZ,
    -- Since when all that the payment provider holds is accounted for.
    settled_at     TIMESTAMPTZ,
    orders_lost    INT NOT NULL DEFAULT 0,
    payments_found INT NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX disasters_one_open ON disasters (sale_id) WHERE opened_at IS NULL;
CREATE INDEX disasters_by_sale ON disasters (sale_id, noticed_at DESC);

-- What the sandbox is told of a payment besides its order, and when: a provider can list what it holds.
ALTER TABLE sandbox_payments
    ADD COLUMN created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ADD COLUMN sale_id    TEXT,
    ADD COLUMN user_id    TEXT;
CREATE INDEX sandbox_payments_by_time ON sandbox_payments (created_at, payment_id);
