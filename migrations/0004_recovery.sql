-- The command of the hold that an order was made from: when Redis has lost its last moments, a hold that is an order by
-- now is known by it.
ALTER TABLE flash_sale_orders ADD COLUMN hold_command TEXT NOT NULL DEFAULT '-';
