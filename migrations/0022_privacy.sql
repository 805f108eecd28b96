-- People are forgotten: one who asks for it, and all of a sale whose time is up.
ALTER TABLE flash_sales
    -- Redis does not have it any more.
    ADD COLUMN left_redis_at     TIMESTAMPTZ,
    -- Credentials of devices, which older releases stored as they were, are hashed.
    ADD COLUMN devices_hidden_at TIMESTAMPTZ,
    -- Nothing of this sale says any more who took part.
    ADD COLUMN forgotten_at      TIMESTAMPTZ;
CREATE INDEX flash_sales_in_redis ON flash_sales (end_time) WHERE left_redis_at IS NULL;
CREATE INDEX flash_sales_to_forget ON flash_sales (end_time) WHERE forgotten_at IS NULL;

-- What stands for a stored credential: nobody can sign in with it, and the same device is the same text.
CREATE FUNCTION hidden_device(device TEXT) RETURNS TEXT LANGUAGE SQL IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN device LIKE 'd\_%.%' THEN 'h_' || left(encode(sha256(convert_to(device, 'UTF8')), 'hex'), 32) ELSE device END
$$;

-- Sales that are over now. Those that still run are done by a worker at their end: processes of the release before compare devices.
SET LOCAL statement_timeout = 0;
UPDATE flash_sale_orders o SET device_id = hidden_device(device_id)
FROM flash_sales s WHERE s.sale_id = o.sale_id AND s.status IN ('ended', 'cancelled') AND device_id LIKE 'd\_%.%';
UPDATE queue_entries e SET device_id = hidden_device(device_id)
FROM flash_sales s WHERE s.sale_id = e.sale_id AND s.status IN ('ended', 'cancelled') AND device_id LIKE 'd\_%.%';
UPDATE draw_entries e SET device_id = hidden_device(device_id)
FROM flash_sales s WHERE s.sale_id = e.sale_id AND s.status IN ('ended', 'cancelled') AND device_id LIKE 'd\_%.%';
UPDATE flash_sales SET devices_hidden_at = now() WHERE status IN ('ended', 'cancelled');
