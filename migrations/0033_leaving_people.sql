-- People who are being forgotten at this moment: nobody gets a place or units meanwhile, in any process. A row that was left behind
-- counts for some seconds only (engine/src/merchants.rs).
CREATE TABLE leaving_people (
    person_id TEXT PRIMARY KEY,
    -- The request that forgets them. A later one takes over.
    request   TEXT NOT NULL,
    since     TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER leaving_people_changed AFTER INSERT OR UPDATE OR DELETE ON leaving_people
    FOR EACH STATEMENT EXECUTE FUNCTION note_platform_change();
