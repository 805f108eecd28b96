-- Merchants: shops that do not trust each other. A sale, a key and a customer belong to one.

-- How often merchants, their keys or the erased people have changed: processes look at this number, and read anew if it moved.
CREATE TABLE platform (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    changes  BIGINT NOT NULL DEFAULT 0,
    -- Credentials of devices from before this migration end some time after it.
    since    TIMESTAMPTZ NOT NULL DEFAULT now()
);
INSERT INTO platform DEFAULT VALUES;

CREATE FUNCTION note_platform_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE platform SET changes = changes + 1;
    RETURN NULL;
END $$;

CREATE TABLE merchants (
    merchant_id    TEXT PRIMARY KEY CHECK (length(merchant_id) BETWEEN 1 AND 64),
    -- The name in addresses: /m/{slug}.
    slug           TEXT NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 64),
    name           TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    time_zone      TEXT NOT NULL DEFAULT 'UTC',
    currency       TEXT NOT NULL DEFAULT 'EUR' CHECK (length(currency) = 3),
    -- Origins of pages that may use the widget; none: every page may.
    widget_origins TEXT[] NOT NULL DEFAULT '{}',
    -- Whether a sandboxed frame, whose origin is "null", may use it as well when there is a list.
    null_origin    BOOLEAN NOT NULL DEFAULT FALSE,
    -- Quotas: sales that are not over, how far ahead they may start, characters of their texts, exports at a time.
    open_sales     INT NOT NULL DEFAULT 200 CHECK (open_sales >= 0),
    days_ahead     INT NOT NULL DEFAULT 36500 CHECK (days_ahead > 0),
    text_chars     INT NOT NULL DEFAULT 5000 CHECK (text_chars > 0),
    exports        INT NOT NULL DEFAULT 2 CHECK (exports > 0),
    -- How long people are known after a sale of theirs is over.
    retention_days INT NOT NULL DEFAULT 1095 CHECK (retention_days > 0),
    status         TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    -- The claim of a customer's token that may say "merchant"; NULL: tokens give no role.
    role_claim     TEXT,
    -- Makes the ids of its shoppers from what their tokens say. It is never rotated or shown: it is no credential.
    person_key     BYTEA NOT NULL CHECK (length(person_key) = 32)
        DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    version        BIGINT NOT NULL DEFAULT 1,
    created_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TRIGGER merchants_changed AFTER INSERT OR UPDATE OR DELETE ON merchants
    FOR EACH STATEMENT EXECUTE FUNCTION note_platform_change();

-- Makes a merchant that is known by its id only. A sale may name one that nobody has set up: that of an operator's token.
CREATE FUNCTION make_merchant(id TEXT) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    plain TEXT := left(trim(BOTH '-' FROM regexp_replace(lower(id), '[^a-z0-9]+', '-', 'g')), 40);
BEGIN
    IF EXISTS (SELECT 1 FROM merchants WHERE merchant_id = id) THEN
        RETURN;
    END IF;
    IF plain = '' OR EXISTS (SELECT 1 FROM merchants WHERE slug = plain) THEN
        plain := trim(BOTH '-' FROM plain || '-' || left(encode(sha256(convert_to(id, 'UTF8')), 'hex'), 12));
    END IF;
    INSERT INTO merchants (merchant_id, slug, name) VALUES (id, plain, id) ON CONFLICT DO NOTHING;
END $$;

SELECT make_merchant(merchant_id) FROM (SELECT DISTINCT merchant_id FROM flash_sales ORDER BY merchant_id) AS known;

-- Also for sales that a process of an older release creates.
CREATE FUNCTION sale_has_a_merchant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM make_merchant(NEW.merchant_id);
    RETURN NEW;
END $$;
CREATE TRIGGER sale_has_a_merchant BEFORE INSERT ON flash_sales
    FOR EACH ROW EXECUTE FUNCTION sale_has_a_merchant();
ALTER TABLE flash_sales ADD CONSTRAINT flash_sales_merchant FOREIGN KEY (merchant_id) REFERENCES merchants;
-- A merchant's list, and the public one: by how soon people can buy.
CREATE INDEX flash_sales_of_merchant ON flash_sales (merchant_id, start_time DESC, sale_id);

CREATE INDEX flash_sales_over ON flash_sales (end_time DESC, sale_id) WHERE status IN ('ended', 'cancelled');

-- Keys that sign in a merchant's customers, and nobody else.
CREATE TABLE merchant_keys (
    key_id      TEXT PRIMARY KEY CHECK (length(key_id) = 26),
    merchant_id TEXT NOT NULL REFERENCES merchants,
    -- secret: derived from the platform's own by key_id, so nothing is stored. public_keys: `keys` has them. jwks_uri: fetched.
    kind        TEXT NOT NULL CHECK (kind IN ('secret', 'public_keys', 'jwks_uri')),
    issuer      TEXT NOT NULL CHECK (length(issuer) BETWEEN 1 AND 500),
    audience    TEXT NOT NULL CHECK (length(audience) BETWEEN 1 AND 500),
    -- The claim that names the customer. It must never be given to another person.
    subject_claim TEXT NOT NULL DEFAULT 'sub' CHECK (length(subject_claim) BETWEEN 1 AND 100),
    -- PEM or a JWKS document.
    keys        TEXT,
    jwks_uri    TEXT,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_by  TEXT NOT NULL,
    revoked_at  TIMESTAMPTZ,
    CONSTRAINT a_key_is_of_its_kind CHECK (
        (kind = 'public_keys') = (keys IS NOT NULL) AND (kind = 'jwks_uri') = (jwks_uri IS NOT NULL))
);
CREATE INDEX merchant_keys_of_merchant ON merchant_keys (merchant_id, created_at);
CREATE TRIGGER merchant_keys_changed AFTER INSERT OR UPDATE OR DELETE ON merchant_keys
    FOR EACH STATEMENT EXECUTE FUNCTION note_platform_change();

-- Who an id of ours is: written with a person's first order at a merchant. Deleted, the id says nothing any more.
CREATE TABLE people (
    person_id   TEXT PRIMARY KEY,
    merchant_id TEXT NOT NULL,
    -- What the merchant's token calls them; NULL: a guest.
    subject     TEXT,
    -- The guest's session, which is one person at each merchant; NULL: a customer.
    account_id  TEXT,
    since       TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX people_of_account ON people (account_id) WHERE account_id IS NOT NULL;

-- Ids that are given to nobody any more: whoever comes back is a new person.
CREATE TABLE erased_people (
    person_id TEXT PRIMARY KEY,
    erased_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TRIGGER erased_people_changed AFTER INSERT OR DELETE ON erased_people
    FOR EACH STATEMENT EXECUTE FUNCTION note_platform_change();

-- Devices whose credential was changed since they were made: the number of the present one, and since when.
CREATE TABLE devices (
    -- SHA-256 of the device's id.
    device     BYTEA PRIMARY KEY CHECK (length(device) = 32),
    generation INT NOT NULL CHECK (generation > 0),
    rotated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- The guest that an older release had made of it; NULL: the one that follows from its id.
    account_id TEXT
);
