-- The mean time of the slowest step of a purchase beyond which fewer people are let in from the line.
ALTER TABLE flash_sales ADD COLUMN target_delay_ms INT NOT NULL DEFAULT 125 CHECK (target_delay_ms BETWEEN 10 AND 10000);
