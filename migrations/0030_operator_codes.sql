-- Codes of an authenticator app, as a second proof of an operator (RFC 6238). Their secret is made from the seed and a secret of the
-- platform, so that nobody can make codes from what is stored.

ALTER TABLE operators
    -- NULL: no code is asked for.
    ADD COLUMN code_seed BYTEA CHECK (length(code_seed) = 16),
    -- The time step of the last code that was taken: a code is good once.
    ADD COLUMN code_step BIGINT;

ALTER TABLE operator_events DROP CONSTRAINT operator_events_kind_check;
ALTER TABLE operator_events ADD CONSTRAINT operator_events_kind_check CHECK (kind IN
    ('invited', 'password_set', 'signed_in', 'refused', 'signed_out', 'signed_out_everywhere', 'removed', 'codes_on', 'codes_off'));
