-- Which commit of silver a set was made from: a version number comes again when silver is restored and grows on.
ALTER TABLE staging.manifests ADD COLUMN IF NOT EXISTS silver_commit text;
