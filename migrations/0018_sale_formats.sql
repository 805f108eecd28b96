-- In which format a sale's identities, names and audit rows are. A sale keeps its format to the end: 1 for those that are there
-- already, and for those that a process of an older release creates.
ALTER TABLE flash_sales ADD COLUMN format SMALLINT NOT NULL DEFAULT 1 CHECK (format > 0);
