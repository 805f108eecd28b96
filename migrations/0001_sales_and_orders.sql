-- The authority: what may be sold (sale_lanes.supply) and what is sold (orders, sale_lanes.allocated).
-- Names of tables and of the brief's columns are the brief's; money is in minor units of the currency.

CREATE TABLE flash_sales (
    sale_id           TEXT PRIMARY KEY CHECK (length(sale_id) = 26),
    -- Who created it (a token's subject): merchants see and steer their own sales.
    merchant_id       TEXT NOT NULL,
    product_id        TEXT NOT NULL,
    product_name      TEXT NOT NULL,
    description       TEXT NOT NULL DEFAULT '',
    currency          TEXT NOT NULL CHECK (length(currency) = 3),
    original_price    BIGINT NOT NULL CHECK (original_price >= 0),
    sale_price        BIGINT NOT NULL CHECK (sale_price >= 0),
    total_stock       INT NOT NULL CHECK (total_stock > 0),
    lanes             SMALLINT NOT NULL CHECK (lanes > 0),
    room_opens_at     TIMESTAMPTZ NOT NULL,
    start_time        TIMESTAMPTZ NOT NULL,
    end_time          TIMESTAMPTZ NOT NULL,
    per_shopper_limit INT NOT NULL CHECK (per_shopper_limit > 0),
    per_device_limit  INT NOT NULL CHECK (per_device_limit > 0),
    hold_ms           BIGINT NOT NULL CHECK (hold_ms > 0),
    claim_ms          BIGINT NOT NULL CHECK (claim_ms > 0),
    payment_ms        BIGINT NOT NULL CHECK (payment_ms > 0),
    -- Entries called per admission step (100 ms), at most.
    inflow            INT NOT NULL CHECK (inflow > 0),
    status            TEXT NOT NULL DEFAULT 'scheduled'
                      CHECK (status IN ('scheduled', 'waiting', 'live', 'paused', 'ended', 'cancelled')),
    created_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT sale_ends_after_start CHECK (end_time > start_time),
    CONSTRAINT room_opens_before_start CHECK (room_opens_at <= start_time)
);
CREATE INDEX flash_sales_by_start ON flash_sales (start_time DESC);
-- What workers and the list of sales ask for: everything that is not over.
CREATE INDEX flash_sales_running ON flash_sales (start_time) WHERE status NOT IN ('ended', 'cancelled');

-- An independent share of a sale's stock. The two checks are the guard: whatever Redis believes, Postgres does not oversell.
CREATE TABLE sale_lanes (
    sale_id   TEXT NOT NULL REFERENCES flash_sales,
    lane      SMALLINT NOT NULL,
    -- One life of the lane's Redis state; an order that names another epoch is refused.
    epoch     INT NOT NULL DEFAULT 1,
    supply    INT NOT NULL CHECK (supply >= 0),
    -- Units in pending and confirmed orders.
    allocated INT NOT NULL DEFAULT 0 CHECK (allocated >= 0),
    -- Of those, units in confirmed orders.
    confirmed INT NOT NULL DEFAULT 0 CHECK (confirmed >= 0),
    PRIMARY KEY (sale_id, lane),
    CONSTRAINT never_oversold CHECK (allocated <= supply),
    CONSTRAINT confirmed_is_allocated CHECK (confirmed <= allocated)
) WITH (fillfactor = 50);

CREATE TABLE flash_sale_orders (
    order_id           TEXT PRIMARY KEY CHECK (length(order_id) = 26),
    sale_id            TEXT NOT NULL REFERENCES flash_sales,
    lane               SMALLINT NOT NULL,
    user_id            TEXT NOT NULL,
    device_id          TEXT NOT NULL,
    quantity_requested INT NOT NULL CHECK (quantity_requested > 0),
    -- 0 only for an abandoned order: one that its gateway never committed, and never will.
    quantity_allocated INT NOT NULL CHECK (quantity_allocated >= 0),
    unit_price         BIGINT NOT NULL,
    amount             BIGINT NOT NULL,
    currency           TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'cancelled')),
    -- Why it was cancelled: a word of the protocol's table of reasons.
    reason             TEXT,
    created_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- An unpaid order is cancelled at this time.
    expires_at         TIMESTAMPTZ NOT NULL,
    changed_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- A cancelled order's units go back to its lane in Redis after the commit; this is set when they have.
    units_returned     BOOLEAN NOT NULL DEFAULT TRUE
);
CREATE INDEX flash_sale_orders_by_sale ON flash_sale_orders (sale_id, created_at DESC);
CREATE INDEX flash_sale_orders_by_user ON flash_sale_orders (user_id, created_at DESC);
CREATE INDEX flash_sale_orders_unpaid ON flash_sale_orders (sale_id, expires_at) WHERE status = 'pending';
CREATE INDEX flash_sale_orders_to_return ON flash_sale_orders (sale_id) WHERE NOT units_returned;

-- Commands whose effect is in this database, for ever: the same id has the same answer, another payload is refused.
CREATE TABLE commands (
    user_id    TEXT NOT NULL,
    command_id TEXT NOT NULL CHECK (length(command_id) = 26),
    -- SHA-256 of verb and payload.
    digest     BYTEA NOT NULL,
    order_id   TEXT NOT NULL,
    -- NULL: done. Otherwise the code of the refusal.
    refusal    TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, command_id)
);

-- What the payment provider said, apart from the order's own state.
CREATE TABLE payments (
    order_id   TEXT NOT NULL REFERENCES flash_sale_orders,
    user_id    TEXT NOT NULL,
    command_id TEXT NOT NULL,
    provider   TEXT NOT NULL,
    reference  TEXT NOT NULL,
    amount     BIGINT NOT NULL,
    currency   TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('captured', 'declined', 'voided')),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, command_id)
);
-- One capture per order: no shopper pays twice.
CREATE UNIQUE INDEX payments_one_capture ON payments (order_id) WHERE status = 'captured';

-- What happened, in order. Written in the same transaction as what it tells of.
CREATE TABLE audit_log (
    seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id TEXT NOT NULL REFERENCES flash_sales,
    at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Who: a token's subject, or the worker's name.
    actor   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    data    JSONB NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_by_sale ON audit_log (sale_id, seq);
