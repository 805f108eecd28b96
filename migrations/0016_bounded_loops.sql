-- Nobody orders and cancels without end; and a lane's rebuild reads what is alive, however much was cancelled.

ALTER TABLE flash_sales
    -- With so many orders cancelled by themselves, or left unpaid, a shopper gets no other one in this sale.
    ADD COLUMN cancel_limit INT NOT NULL DEFAULT 20 CHECK (cancel_limit > 0);

-- How many orders a shopper has cancelled, or not paid, in a sale.
CREATE TABLE cancelled_orders (
    sale_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    orders  INT NOT NULL,
    PRIMARY KEY (sale_id, user_id)
) WITH (fillfactor = 50);

SET LOCAL statement_timeout = 0;
INSERT INTO cancelled_orders
SELECT sale_id, user_id, count(*) FROM flash_sale_orders
WHERE status = 'cancelled' AND quantity_allocated > 0 AND reason IN ('by_shopper', 'unpaid') GROUP BY 1, 2;

CREATE INDEX flash_sale_orders_alive ON flash_sale_orders (sale_id, lane) WHERE status IN ('pending', 'confirmed');
