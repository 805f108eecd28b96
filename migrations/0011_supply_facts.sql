-- A change of lanes' supply is a fact with an id: Postgres commits it once, and each lane in Redis applies it once, by the
-- version of the lane's supply. A process that does not know of versions changes the supply without one, as before.
ALTER TABLE sale_lanes ADD COLUMN supply_version BIGINT NOT NULL DEFAULT 0;

-- One row per move or change that has been decided: committed, or given up by a worker, so that a late commit is refused.
CREATE TABLE supply_moves (
    move_id   TEXT PRIMARY KEY CHECK (length(move_id) = 32),
    sale_id   TEXT NOT NULL REFERENCES flash_sales,
    committed BOOLEAN NOT NULL,
    at        TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- What each version changed. Kept as long as the sale: there is a row in the audit log for each as well.
CREATE TABLE supply_facts (
    sale_id TEXT NOT NULL,
    lane    SMALLINT NOT NULL,
    -- 1, 2, … per lane.
    version BIGINT NOT NULL CHECK (version > 0),
    -- Less than 0: these were set aside in Redis for the move before.
    units   INT NOT NULL CHECK (units <> 0),
    move_id TEXT NOT NULL REFERENCES supply_moves,
    PRIMARY KEY (sale_id, lane, version)
);
