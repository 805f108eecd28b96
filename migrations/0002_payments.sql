-- Payments, apart from the orders they pay. The first table of this name could not tell an authorization from a capture; no
-- release has written to it.
DROP TABLE payments;

-- One row per attempt to pay an order. Written before the provider is asked, so that no call to it is ever forgotten.
CREATE TABLE payments (
    -- Also the provider's idempotency key: every call may be repeated under it.
    payment_id   TEXT PRIMARY KEY CHECK (length(payment_id) = 26),
    order_id     TEXT NOT NULL REFERENCES flash_sale_orders,
    user_id      TEXT NOT NULL,
    command_id   TEXT NOT NULL,
    provider     TEXT NOT NULL,
    -- The provider's own name for it, once it has given one.
    reference    TEXT,
    amount       BIGINT NOT NULL CHECK (amount >= 0),
    currency     TEXT NOT NULL,
    status       TEXT NOT NULL DEFAULT 'created'
                 CHECK (status IN ('created', 'authorized', 'captured', 'declined', 'voided', 'refunding', 'refunded')),
    -- This payment has confirmed its order.
    pays         BOOLEAN NOT NULL DEFAULT FALSE,
    -- What the pay command is told, for ever: 'ok' or a refusal's code. NULL: the outcome is not known yet.
    answer       TEXT,
    -- Why it was declined, in the provider's words.
    reason       TEXT,
    answered_at  TIMESTAMPTZ,
    -- Money on its way back, and of that, money that is back.
    refund_asked BIGINT NOT NULL DEFAULT 0,
    refunded     BIGINT NOT NULL DEFAULT 0,
    -- What the worker has to do next: ask how it stands, capture, void, or find the late money a unit (else refund it).
    todo         TEXT CHECK (todo IN ('ask', 'capture', 'void', 'revive')),
    todo_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    tries        INT NOT NULL DEFAULT 0,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT refunds_within_amount CHECK (0 <= refunded AND refunded <= refund_asked AND refund_asked <= amount)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX payments_one_per_command ON payments (user_id, command_id);
CREATE INDEX payments_by_order ON payments (order_id);
-- No order is paid twice.
CREATE UNIQUE INDEX payments_one_pays ON payments (order_id) WHERE pays;
-- One attempt at a time: while an outcome is not known, nobody pays the same order with another card.
CREATE UNIQUE INDEX payments_one_open ON payments (order_id) WHERE answer IS NULL;
CREATE INDEX payments_to_do ON payments (todo_at) WHERE todo IS NOT NULL;

CREATE TABLE refunds (
    -- The payment's id and a number; also the provider's idempotency key.
    refund_id  TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL REFERENCES payments,
    amount     BIGINT NOT NULL CHECK (amount > 0),
    -- dropped: the money never came, so there is none to send back.
    status     TEXT NOT NULL DEFAULT 'wanted' CHECK (status IN ('wanted', 'done', 'dropped')),
    -- Who: an operator's token subject, or the worker.
    actor      TEXT NOT NULL,
    -- NULL: sent back by itself, because the order had no unit for the money.
    command_id TEXT,
    reason     TEXT NOT NULL,
    todo_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    tries      INT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    done_at    TIMESTAMPTZ
);
CREATE INDEX refunds_by_payment ON refunds (payment_id);
CREATE UNIQUE INDEX refunds_one_per_command ON refunds (actor, command_id);
CREATE INDEX refunds_to_do ON refunds (todo_at) WHERE status = 'wanted';

-- Every signed event a provider has sent about a payment that we know, once and for ever.
CREATE TABLE payment_events (
    provider    TEXT NOT NULL,
    event_id    TEXT NOT NULL,
    payment_id  TEXT NOT NULL REFERENCES payments,
    kind        TEXT NOT NULL,
    body        JSONB NOT NULL,
    -- NULL: taken. Otherwise the code under which it was refused.
    refusal     TEXT,
    received_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (provider, event_id)
);

-- Money that has gone back to the shopper.
ALTER TABLE flash_sale_orders ADD COLUMN refunded BIGINT NOT NULL DEFAULT 0;

-- The sandbox provider's own books. It stands for a remote service: nothing but store/sandbox.rs reads or writes them, and no
-- transaction of ours covers them.
CREATE TABLE sandbox_payments (
    payment_id    TEXT PRIMARY KEY,
    order_id      TEXT NOT NULL,
    amount        BIGINT NOT NULL,
    currency      TEXT NOT NULL,
    card          TEXT NOT NULL,
    status        TEXT NOT NULL CHECK (status IN ('authorized', 'captured', 'declined', 'voided')),
    reason        TEXT,
    -- Before this time the payment is being processed; before the other one the provider does not answer about it.
    known_at      TIMESTAMPTZ NOT NULL,
    silent_until  TIMESTAMPTZ NOT NULL,
    -- The call that succeeds; those before get no answer. 0: the capture is refused.
    capture_at    SMALLINT NOT NULL DEFAULT 1,
    capture_calls SMALLINT NOT NULL DEFAULT 0,
    refund_at     SMALLINT NOT NULL DEFAULT 1,
    refund_calls  SMALLINT NOT NULL DEFAULT 0,
    refunded      BIGINT NOT NULL DEFAULT 0 CHECK (refunded <= amount),
    -- How often each event of it is sent; 0: never.
    webhooks      SMALLINT NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

CREATE TABLE sandbox_refunds (
    refund_id  TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL REFERENCES sandbox_payments,
    amount     BIGINT NOT NULL
);

CREATE TABLE sandbox_events (
    event_id   TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL,
    body       TEXT NOT NULL,
    due_at     TIMESTAMPTZ NOT NULL,
    times_left SMALLINT NOT NULL,
    tries      INT NOT NULL DEFAULT 0
);
CREATE INDEX sandbox_events_due ON sandbox_events (due_at) WHERE times_left > 0;
