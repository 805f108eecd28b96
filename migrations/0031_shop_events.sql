-- What operators do to shops and their keys stands beside what they do to accounts.

ALTER TABLE operator_events
    ADD COLUMN merchant_id TEXT,
    -- The key that it is about.
    ADD COLUMN about       TEXT,
    -- Each changed field with its values before and now.
    ADD COLUMN changed     JSONB;

ALTER TABLE operator_events DROP CONSTRAINT operator_events_kind_check;
ALTER TABLE operator_events ADD CONSTRAINT operator_events_kind_check CHECK (kind IN
    ('invited', 'password_set', 'signed_in', 'refused', 'signed_out', 'signed_out_everywhere', 'removed', 'codes_on', 'codes_off',
     'shop_made', 'shop_changed', 'key_added', 'key_revoked', 'api_key_made', 'api_key_revoked'));
