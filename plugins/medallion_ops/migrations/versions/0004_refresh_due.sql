-- Why the next write must compute all of gold, whatever is new in silver: a table of gold was made again and is
-- empty, or a column was. Set on the last publication; the next publication has none.
ALTER TABLE gold.publications ADD COLUMN refresh_due text;
