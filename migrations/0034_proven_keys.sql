-- Since when it is proven that tokens of a key's issuer and audience are its shop's; NULL: nobody has proven it. A proven key takes the
-- place of other shops' keys that are not (docs/sign-in.md).
ALTER TABLE merchant_keys ADD COLUMN proven_at TIMESTAMPTZ;
