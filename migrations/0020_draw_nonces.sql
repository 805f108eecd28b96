-- Names in a draw that nobody can guess or choose: made with a number of the shopper's own client (docs/draw.md).

-- NULL: the name is made without one, as all of format 1. The constraints are for new rows: old ones have none, and are not read.
ALTER TABLE draw_entries ADD COLUMN nonce BYTEA;
ALTER TABLE draw_entries ADD CONSTRAINT draw_entries_nonce_check CHECK (length(nonce) = 16) NOT VALID;
-- People in line may be entries of a draw later.
ALTER TABLE queue_entries ADD COLUMN nonce BYTEA;
ALTER TABLE queue_entries ADD CONSTRAINT queue_entries_nonce_check CHECK (length(nonce) = 16) NOT VALID;

-- One shopper, one entry: with another nonce the same shopper would have another name.
CREATE UNIQUE INDEX draw_entries_by_shopper ON draw_entries (sale_id, shopper_id);
