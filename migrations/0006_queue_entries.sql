-- The line: how it opens, who goes first, and what became of everybody in it.

ALTER TABLE flash_sales
    -- Where the opening order is shuffled: the seed of the places, hex; secret until the start. NULL: first come.
    ADD COLUMN opening_seed   TEXT CHECK (length(opening_seed) = 64),
    -- Percent of each step's turns for the merchant's priority list, while somebody of it waits.
    ADD COLUMN priority_share INT NOT NULL DEFAULT 50 CHECK (priority_share BETWEEN 0 AND 100),
    -- Whoever is away for so long loses their place.
    ADD COLUMN absence_ms     BIGINT NOT NULL DEFAULT 3600000 CHECK (absence_ms > 0);

-- History, written in bulk by a worker from what the line's scripts note down. Redis has the line itself.
CREATE TABLE queue_entries (
    -- Made from sale, shopper and place: the same entry, noted twice, is one row.
    queue_id   TEXT NOT NULL CHECK (length(queue_id) = 26),
    sale_id    TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    device_id  TEXT NOT NULL,
    quantity   INT NOT NULL CHECK (quantity > 0),
    -- What the line was ordered by: µs since 1970, or the opening place by the sale's seed.
    place      BIGINT NOT NULL,
    priority   BOOLEAN NOT NULL DEFAULT FALSE,
    joined_at  TIMESTAMPTZ NOT NULL,
    status     TEXT NOT NULL DEFAULT 'waiting'
               CHECK (status IN ('waiting', 'served', 'removed', 'left', 'expired', 'not_served')),
    ended_at   TIMESTAMPTZ,
    PRIMARY KEY (sale_id, queue_id)
) PARTITION BY HASH (sale_id);

-- Partitioned by sale: what one sale writes and deletes is in one partition.
DO $$
BEGIN
    FOR i IN 0..15 LOOP
        EXECUTE format('CREATE TABLE queue_entries_%s PARTITION OF queue_entries FOR VALUES WITH (MODULUS 16, REMAINDER %s)', i, i);
        EXECUTE format('CREATE INDEX queue_entries_%s_by_user ON queue_entries_%s (sale_id, user_id, joined_at)', i, i);
    END LOOP;
END
$$;
