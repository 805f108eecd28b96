-- What passes on is published as well: how far turns have come in the order of the draw, and when the draw was over.

ALTER TABLE draws
    -- Everybody up to here has had their turn: so many, and the last of them.
    ADD COLUMN called            BIGINT CHECK (called >= 0),
    ADD COLUMN last_called_key   TEXT,
    ADD COLUMN last_called_entry TEXT,
    -- Nobody is called any more.
    ADD COLUMN over_at           TIMESTAMPTZ;

-- Draws of before: whoever was called in them was called without a gap.
UPDATE draws d SET called = t.rank, last_called_key = t.key, last_called_entry = t.entry
FROM draw_turns t
WHERE t.sale_id = d.sale_id AND d.drawn_at IS NOT NULL
  AND t.rank = (SELECT max(rank) FROM draw_turns WHERE sale_id = d.sale_id AND called_at IS NOT NULL);
UPDATE draws d SET over_at = now(), called = coalesce(called, 0)
FROM flash_sales s
WHERE s.sale_id = d.sale_id AND s.status = 'ended' AND d.drawn_at IS NOT NULL;
