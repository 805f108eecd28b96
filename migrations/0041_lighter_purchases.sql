-- A purchase holds what it needs without these, and each of its rows is written with fewer index entries and locks.
--
-- Whose order a payment pays, and whose sale an order is in, is looked up by the statement that writes it (store/payments/begin.rs,
-- store/orders/place.rs: the lane's guard). A foreign key looks it up once more for each row, and locks the row that it finds: all
-- purchases of a sale shared one row's lock.
ALTER TABLE payments DROP CONSTRAINT payments_order_id_fkey;
ALTER TABLE flash_sale_orders DROP CONSTRAINT flash_sale_orders_sale_id_fkey;

-- A command is used once because it stands in `commands` once; of two payments for it that are begun at the same time, one goes.
DROP INDEX payments_one_per_command;
