-- What operators have set of a sale has a version. Workers do not raise it: the clock's moves are nobody's settings.
ALTER TABLE flash_sales ADD COLUMN settings_version BIGINT NOT NULL DEFAULT 1;

-- Operators' commands that came with a key, for ever: the same key has the same answer, another request is refused. Written in the
-- transaction of the effect.
CREATE TABLE operator_commands (
    -- A token's subject: keys are each operator's own.
    actor      TEXT NOT NULL,
    command_id TEXT NOT NULL CHECK (length(command_id) = 26),
    -- SHA-256 of method, path and body.
    digest     BYTEA NOT NULL,
    sale_id    TEXT NOT NULL,
    -- The answer as it was given. NULL only inside the transaction.
    status     SMALLINT,
    version    BIGINT,
    answer     JSONB,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, command_id)
);
