-- The people who operate the platform or a merchant: their accounts, sessions and tickets. No secret is stored, only hashes.

CREATE TABLE operators (
    operator_id       TEXT PRIMARY KEY CHECK (length(operator_id) BETWEEN 1 AND 64),
    -- In small letters. A removed operator keeps it, so that the audit log can be read.
    email             TEXT NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    -- NULL: an admin of the platform.
    merchant_id       TEXT REFERENCES merchants,
    role              TEXT NOT NULL CHECK (role IN ('admin', 'owner', 'staff', 'viewer')),
    -- Argon2id, with its salt and costs; NULL: not set yet.
    password          TEXT,
    -- SHA-256 of the secret in the link that sets the password; NULL: no link is open.
    invite            BYTEA CHECK (length(invite) = 32),
    invite_expires_at TIMESTAMPTZ,
    created_at        TIMESTAMPTZ NOT NULL DEFAULT now(),
    created_by        TEXT NOT NULL,
    removed_at        TIMESTAMPTZ,
    CONSTRAINT an_admin_has_no_merchant CHECK ((role = 'admin') = (merchant_id IS NULL)),
    CONSTRAINT a_link_has_an_end CHECK ((invite IS NULL) = (invite_expires_at IS NULL))
);
CREATE UNIQUE INDEX operators_by_email ON operators (email) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX operators_by_invite ON operators (invite) WHERE invite IS NOT NULL;
CREATE INDEX operators_of_merchant ON operators (merchant_id, email) WHERE removed_at IS NULL;

-- Deleted at the end of a session, whatever ends it.
CREATE TABLE operator_sessions (
    -- SHA-256 of the cookie's value.
    session     BYTEA PRIMARY KEY CHECK (length(session) = 32),
    operator_id TEXT NOT NULL REFERENCES operators,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Written once a minute at most.
    used_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX operator_sessions_of_operator ON operator_sessions (operator_id);

-- What opens one socket in a session's name. Deleted on use.
CREATE TABLE operator_tickets (
    -- SHA-256 of the ticket.
    ticket     BYTEA PRIMARY KEY CHECK (length(ticket) = 32),
    session    BYTEA NOT NULL REFERENCES operator_sessions ON DELETE CASCADE,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX operator_tickets_of_session ON operator_tickets (session);

-- Who signed in, or tried to, and from where; who was invited and removed, and by whom. Deleted after some months.
CREATE TABLE operator_events (
    event_id    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    kind        TEXT NOT NULL CHECK (kind IN
        ('invited', 'password_set', 'signed_in', 'refused', 'signed_out', 'signed_out_everywhere', 'removed')),
    -- NULL: a try with an address that nobody has. It is not stored: people also type passwords there.
    operator_id TEXT,
    -- Who did it, if not the operator; `console`: the command line.
    actor       TEXT,
    -- NULL: the command line.
    address     TEXT
);
CREATE INDEX operator_events_by_time ON operator_events (at);
