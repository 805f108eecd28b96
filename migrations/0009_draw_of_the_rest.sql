-- What is left at the end of a first-come sale is drawn among those who still wait: such a sale has its row in `draws` from the
-- beginning on. Those that are older have none, and end as they did.

ALTER TABLE flash_sales
    -- What an entry weighs in the draw: all the same, or more the longer it has waited.
    ADD COLUMN draw_weight   TEXT NOT NULL DEFAULT 'equal' CHECK (draw_weight IN ('equal', 'waiting_time')),
    -- The last change of the inflow was a cut, then. Shoppers are told so for a while.
    ADD COLUMN inflow_cut_at TIMESTAMPTZ;

-- 1 to 10: 1 and one more for each ninth of the time from the room's opening to the close that the entry was there.
CREATE FUNCTION waiting_weight(entered_at TIMESTAMPTZ, opened_at TIMESTAMPTZ, closed_at TIMESTAMPTZ) RETURNS INT
LANGUAGE SQL IMMUTABLE PARALLEL SAFE AS $$
    SELECT 1 + least(9, greatest(0, floor(9 * extract(epoch FROM closed_at - greatest(entered_at, opened_at))
        / greatest(extract(epoch FROM closed_at - opened_at), 0.001))))::int
$$;
