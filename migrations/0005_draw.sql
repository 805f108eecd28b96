-- The draw: its seed and what is published of it, its entries, and whose turn it came to. docs/draw.md says how it is computed.

ALTER TABLE flash_sales
    ADD COLUMN allocation TEXT NOT NULL DEFAULT 'queue' CHECK (allocation IN ('queue', 'draw')),
    DROP CONSTRAINT flash_sales_status_check,
    ADD CONSTRAINT flash_sales_status_check
        CHECK (status IN ('scheduled', 'waiting', 'live', 'paused', 'drawing', 'ended', 'cancelled'));

CREATE TABLE draws (
    sale_id       TEXT PRIMARY KEY REFERENCES flash_sales,
    -- Secret until `drawn_at`.
    seed          BYTEA NOT NULL CHECK (length(seed) = 32),
    commitment    BYTEA NOT NULL CHECK (commitment = sha256(seed)),
    -- Where the beacon's value will come from; NULL: the draw has no beacon. And the value.
    beacon_source TEXT,
    beacon        TEXT,
    -- No entry comes or goes from here on.
    closed_at     TIMESTAMPTZ,
    -- Published when all entries are counted.
    units         BIGINT CHECK (units >= 0),
    entries       BIGINT CHECK (entries >= 0),
    root          BYTEA CHECK (length(root) = 32),
    -- The draw is held: seed, winners and cut-off are public.
    drawn_at      TIMESTAMPTZ,
    winners       BIGINT,
    cut_off_key   TEXT,
    cut_off_entry TEXT,
    -- Everybody who was drawn has been called.
    told_at       TIMESTAMPTZ,
    CONSTRAINT a_beacon_comes_after_the_root CHECK (beacon IS NULL OR root IS NOT NULL),
    CONSTRAINT a_draw_comes_after_root_and_beacon
        CHECK (drawn_at IS NULL OR (root IS NOT NULL AND (beacon_source IS NULL OR beacon IS NOT NULL)))
);

CREATE TABLE draw_entries (
    sale_id    TEXT NOT NULL,
    -- The shopper's published name; the order of the entries is that of its bytes.
    entry      TEXT COLLATE "C" NOT NULL,
    shopper_id TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    quantity   INT NOT NULL CHECK (quantity > 0),
    weight     INT NOT NULL CHECK (weight > 0),
    entered_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (sale_id, entry)
);
-- One device, one entry.
CREATE UNIQUE INDEX draw_entries_by_device ON draw_entries (sale_id, device_id);

-- The tree's nodes above each 1,024 entries: a proof reads one chunk, not all entries.
CREATE TABLE draw_chunks (
    sale_id     TEXT NOT NULL,
    chunk       INT NOT NULL,
    first_entry TEXT COLLATE "C" NOT NULL,
    root        BYTEA NOT NULL CHECK (length(root) = 32),
    PRIMARY KEY (sale_id, chunk)
);
CREATE INDEX draw_chunks_by_first ON draw_chunks (sale_id, first_entry);

-- The front of the order of keys: those drawn, and behind them those to whom left units pass on.
CREATE TABLE draw_turns (
    sale_id    TEXT NOT NULL,
    -- 1 is the smallest key.
    rank       BIGINT NOT NULL,
    key        TEXT NOT NULL,
    entry      TEXT COLLATE "C" NOT NULL,
    shopper_id TEXT NOT NULL,
    -- What they get: of those drawn as drawn, of the others as wanted.
    units      INT NOT NULL CHECK (units > 0),
    drawn      BOOLEAN NOT NULL,
    -- NULL: their turn has not come.
    called_at  TIMESTAMPTZ,
    PRIMARY KEY (sale_id, rank)
);
CREATE UNIQUE INDEX draw_turns_by_entry ON draw_turns (sale_id, entry);
CREATE INDEX draw_turns_to_call ON draw_turns (sale_id, rank) WHERE called_at IS NULL;
