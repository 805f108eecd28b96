-- The terms under which a sale sells. They stay as they are, so that an order's are those that its shopper was shown.
ALTER TABLE flash_sales
    ADD COLUMN terms_url     TEXT CHECK (length(terms_url) BETWEEN 1 AND 2000),
    ADD COLUMN terms_version TEXT CHECK (length(terms_version) BETWEEN 1 AND 100);

-- NULL: its sale names none, or it was placed by a release before.
ALTER TABLE flash_sale_orders
    ADD COLUMN terms_url     TEXT,
    ADD COLUMN terms_version TEXT;
