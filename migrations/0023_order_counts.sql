-- How many orders a sale has, in which state, and their revenue: counted while they are written, so that no look reads them all. Each
-- statement adds a row with what it has changed, so nobody waits for anybody; the sum of a sale's rows is the answer. A worker joins
-- rows now and then.
CREATE TABLE order_counts (
    sale_id   TEXT NOT NULL,
    pending   BIGINT NOT NULL,
    confirmed BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    revenue   BIGINT NOT NULL
);
CREATE INDEX order_counts_by_sale ON order_counts (sale_id);

-- Triggers, because processes of the release before write orders too.
CREATE FUNCTION count_new_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_counts
    SELECT sale_id, count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'confirmed'),
        count(*) FILTER (WHERE status = 'cancelled'), coalesce(sum(amount - refunded) FILTER (WHERE status = 'confirmed'), 0)
    FROM new_orders WHERE quantity_allocated > 0 GROUP BY sale_id;
    RETURN NULL;
END $$;
CREATE FUNCTION count_changed_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_counts
    SELECT sale_id, sum(n) FILTER (WHERE status = 'pending'), sum(n) FILTER (WHERE status = 'confirmed'),
        sum(n) FILTER (WHERE status = 'cancelled'), sum(n * (amount - refunded)) FILTER (WHERE status = 'confirmed')
    FROM (
        SELECT sale_id, status, amount, refunded, 1 AS n FROM new_orders WHERE quantity_allocated > 0
        UNION ALL SELECT sale_id, status, amount, refunded, -1 FROM old_orders WHERE quantity_allocated > 0
        -- Nothing is null then.
        UNION ALL SELECT DISTINCT sale_id, state, 0, 0, 0 FROM new_orders, unnest(ARRAY['pending', 'confirmed', 'cancelled']) AS state
    ) AS changes
    GROUP BY sale_id
    HAVING count(*) FILTER (WHERE n <> 0) > 0
        AND (sum(n) FILTER (WHERE status = 'pending') <> 0 OR sum(n) FILTER (WHERE status = 'confirmed') <> 0
            OR sum(n) FILTER (WHERE status = 'cancelled') <> 0
            OR sum(n * (amount - refunded)) FILTER (WHERE status = 'confirmed') <> 0);
    RETURN NULL;
END $$;
CREATE TRIGGER new_orders_are_counted AFTER INSERT ON flash_sale_orders
    REFERENCING NEW TABLE AS new_orders FOR EACH STATEMENT EXECUTE FUNCTION count_new_orders();
CREATE TRIGGER changed_orders_are_counted AFTER UPDATE ON flash_sale_orders
    REFERENCING NEW TABLE AS new_orders OLD TABLE AS old_orders FOR EACH STATEMENT EXECUTE FUNCTION count_changed_orders();

-- No order is written until this is committed.
SET LOCAL statement_timeout = 0;
INSERT INTO order_counts
SELECT sale_id, count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'confirmed'),
    count(*) FILTER (WHERE status = 'cancelled'), coalesce(sum(amount - refunded) FILTER (WHERE status = 'confirmed'), 0)
FROM flash_sale_orders WHERE quantity_allocated > 0 GROUP BY sale_id;
