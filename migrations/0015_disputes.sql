-- Disputes: a shopper has asked their bank for the money back. The provider tells of it; units and order stay as they are.
CREATE TABLE disputes (
    payment_id TEXT NOT NULL REFERENCES payments,
    -- The provider's own name for it.
    dispute_id TEXT NOT NULL,
    amount     BIGINT NOT NULL CHECK (amount > 0),
    currency   TEXT NOT NULL,
    -- In the provider's words.
    reason     TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('open', 'won', 'lost')),
    opened_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    closed_at  TIMESTAMPTZ,
    PRIMARY KEY (payment_id, dispute_id)
);
