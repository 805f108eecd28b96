-- What passes on is published as well: how far turns have come in the order of the draw, and when the draw was over.

ALTER TABLE draws
    -- Everybody up to here has had their turn: so many, and the last of them.
    ADD COLUMN called            BIGINT CHECK (called >= 0),
    ADD COLUMN last_called_key   TEXT,
    ADD COLUMN last_called_entry TEXT,
    -- Nobody is called any more.
    ADD COLUMN over_at           TIMESTAMPTZ;

-- Draws of before: how far their turns have come without a gap. They were over with the last one called, as far as anybody can tell.
UPDATE draws d SET called = t.rank, last_called_key = t.key, last_called_entry = t.entry
FROM draw_turns t
WHERE t.sale_id = d.sale_id AND d.drawn_at IS NOT NULL
  AND t.rank = (SELECT max(rank) FROM draw_turns WHERE sale_id = d.sale_id AND rank < coalesce(
      (SELECT min(rank) FROM draw_turns WHERE sale_id = d.sale_id AND called_at IS NULL), 9223372036854775807));
UPDATE draws d SET called = coalesce(called, 0),
    over_at = coalesce((SELECT max(called_at) FROM draw_turns t WHERE t.sale_id = d.sale_id), d.drawn_at)
FROM flash_sales s
WHERE s.sale_id = d.sale_id AND s.status = 'ended' AND d.drawn_at IS NOT NULL;
