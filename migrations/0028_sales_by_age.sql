-- Processes ask which sales were made lately (engine/src/known.rs).
CREATE INDEX flash_sales_created ON flash_sales (created_at);
