-- Links with which a guest takes their place along to another browser. Of the code only the hash is stored.
CREATE TABLE place_links (
    -- One a guest: a new one ends the one before.
    account_id TEXT PRIMARY KEY,
    code       BYTEA NOT NULL UNIQUE CHECK (length(code) = 32),
    -- The guest's device, which the other browser becomes as well.
    device_id  TEXT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    -- Good once.
    taken_at   TIMESTAMPTZ
);
CREATE INDEX place_links_over ON place_links (expires_at);
