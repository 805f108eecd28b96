-- Whether shoppers may extend their turn or their cart, once, while nobody waits. Sales of before do not promise it.
ALTER TABLE flash_sales ADD COLUMN extend_once BOOLEAN NOT NULL DEFAULT FALSE;
