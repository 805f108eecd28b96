-- A refund that the provider refuses again and again is not tried for ever: it waits for an operator.
ALTER TABLE refunds
    DROP CONSTRAINT refunds_status_check,
    ADD CONSTRAINT refunds_status_check CHECK (status IN ('wanted', 'done', 'dropped', 'refused')),
    -- How often it was refused since somebody last asked for it, and why, in the provider's words.
    ADD COLUMN refusals INT NOT NULL DEFAULT 0,
    ADD COLUMN refusal  TEXT;
CREATE INDEX refunds_refused ON refunds (payment_id) WHERE status = 'refused';
