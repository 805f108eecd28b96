-- What passes on is published as well: how far turns have come in the order of the draw, and when the draw was over.

ALTER TABLE draws
    -- Everybody up to here has had their turn: so many, and the last of them.
    ADD COLUMN called            BIGINT CHECK (called >= 0),
    ADD COLUMN last_called_key   TEXT,
    ADD COLUMN last_called_entry TEXT,
    -- Nobody is called any more.
    ADD COLUMN over_at           TIMESTAMPTZ;
