-- Which code wrote a set; publications name it beside the code that published.
ALTER TABLE staging.manifests ADD COLUMN code_version text;
