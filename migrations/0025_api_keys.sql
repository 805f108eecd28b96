-- Keys of a merchant's own programs. Of the secret only the hash is stored.

CREATE TABLE api_keys (
    key_id      TEXT PRIMARY KEY CHECK (length(key_id) BETWEEN 1 AND 64),
    merchant_id TEXT NOT NULL REFERENCES merchants,
    -- What it is for, in its owner's words.
    name        TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- SHA-256 of the secret.
    secret      BYTEA NOT NULL UNIQUE CHECK (length(secret) = 32),
    scopes      TEXT[] NOT NULL CHECK (cardinality(scopes) > 0),
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_by  TEXT NOT NULL,
    -- Written once a minute at most; NULL: never used.
    used_at     TIMESTAMPTZ,
    revoked_at  TIMESTAMPTZ
);
CREATE INDEX api_keys_of_merchant ON api_keys (merchant_id, created_at);
