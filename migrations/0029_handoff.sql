-- The hand-off: orders are paid at the shop's own checkout (docs/payments.md).

ALTER TABLE merchants
    -- The shop's checkout, to which a shopper is sent with a token; NULL: none is set.
    ADD COLUMN checkout_url TEXT CHECK (length(checkout_url) BETWEEN 1 AND 2000),
    -- How long after it was made an order may wait for its payment at most, when the shop asks for more time.
    ADD COLUMN checkout_max_s INT NOT NULL DEFAULT 3600 CHECK (checkout_max_s >= 0);

-- Tokens that a shop's backend has redeemed. One that is not here was never used.
CREATE TABLE handoff_tokens (
    payment_id  TEXT NOT NULL REFERENCES payments,
    token_id    TEXT NOT NULL,
    -- The id of the key, or of the operator.
    redeemed_by TEXT NOT NULL,
    -- The request's idempotency key: the same request may come again. NULL: it had none.
    command_id  TEXT,
    redeemed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (payment_id, token_id)
);
