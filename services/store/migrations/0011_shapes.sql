-- What shape the tables of a projection have: another build may have made them, and this one would find out by a column that is missing.

ALTER TABLE projections ADD COLUMN sha256 text;
COMMENT ON COLUMN projections.sha256 IS 'SHA-256 of the DDL that made the live version, without its comments; NULL: made before this was kept.';
