-- What the fairness numbers are made of, counted while it is written: no look at them reads all entries.

-- What there is already is counted once, however long that takes.
SET LOCAL statement_timeout = 0;

-- How a line's entries ended, and after what wait.
CREATE TABLE queue_outcomes (
    sale_id TEXT NOT NULL,
    -- 'joined' counts everybody who has ever joined; those who wait are those who joined without the others.
    outcome TEXT NOT NULL CHECK (outcome IN ('joined', 'served', 'removed', 'left', 'expired', 'not_served')),
    -- The wait from the start of the sale on, by queue_wait_bucket; 0 of those who joined.
    bucket  SMALLINT NOT NULL CHECK (bucket >= 0),
    entries BIGINT NOT NULL,
    PRIMARY KEY (sale_id, outcome, bucket)
) WITH (fillfactor = 50);

-- Eight buckets for each doubling of the wait: the upper end of bucket b is 2^(b/8) ms, so a wait read off it is at most a
-- tenth too long.
CREATE FUNCTION queue_wait_bucket(joined_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, start_time TIMESTAMPTZ) RETURNS SMALLINT
LANGUAGE SQL IMMUTABLE PARALLEL SAFE AS $$
    SELECT ceil(8 * ln(greatest(1, extract(epoch FROM ended_at - greatest(joined_at, start_time))::float8 * 1000)) / ln(2::float8))::smallint
$$;

INSERT INTO queue_outcomes
SELECT sale_id, 'joined', 0, count(*) FROM queue_entries GROUP BY sale_id;
INSERT INTO queue_outcomes
SELECT sale_id, e.status, queue_wait_bucket(joined_at, ended_at, start_time) AS bucket, count(*)
FROM queue_entries e JOIN flash_sales s USING (sale_id)
WHERE ended_at IS NOT NULL GROUP BY sale_id, e.status, bucket;

-- A draw's entries and winners by weight.
CREATE TABLE draw_classes (
    sale_id TEXT NOT NULL,
    weight  INT NOT NULL,
    entries BIGINT NOT NULL,
    winners BIGINT NOT NULL DEFAULT 0 CHECK (winners BETWEEN 0 AND entries),
    PRIMARY KEY (sale_id, weight)
);

INSERT INTO draw_classes
SELECT e.sale_id, e.weight, count(*), count(t.rank)
FROM draws d JOIN draw_entries e USING (sale_id)
LEFT JOIN draw_turns t ON t.sale_id = e.sale_id AND t.entry = e.entry AND t.drawn
WHERE d.root IS NOT NULL GROUP BY e.sale_id, e.weight;
