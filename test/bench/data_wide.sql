-- psql -v rows=250000 -v dir=/folder -f data_wide.sql : writes wide1.csv and wide2.csv (server-side COPY): 3 text keys, and 10 columns
-- each of numeric, timestamptz, text and jsonb, of which about one in seven is NULL. Day 2 differs as in data.sql.
\set day1 :dir '/wide1.csv'
\set day2 :dir '/wide2.csv'
SELECT string_agg(format(
         'CASE WHEN (g * 31 + %1$s) %% 7 > 0 THEN ((g * 7919 + %1$s * 104729) %% 1000000007)::numeric / 100 END a%1$s, '
         'CASE WHEN (g * 37 + %1$s) %% 7 > 0 THEN timestamptz ''2019-01-01 00:00:00+00'' + (g * 6151 + %1$s * 389) %% 30000000 * interval ''1 second'' END b%1$s, '
         'CASE WHEN (g * 41 + %1$s) %% 7 > 0 THEN left(md5((g * 10 + %1$s)::text), (8 + (g + %1$s) %% 24)::int) END c%1$s, '
         'CASE WHEN (g * 43 + %1$s) %% 7 > 0 THEN jsonb_build_object(''id'', g %% 997, ''tag'', left(md5((g + %1$s)::text), 8)) END d%1$s', i), ', ') AS made,
       string_agg(format('%sa%s, b%s, c%s, d%s', CASE WHEN i = 1 THEN 'a1 + CASE WHEN g % 5 IN (1, 2) THEN 1 ELSE 0 END AS ' ELSE '' END, i, i, i, i), ', ') AS changed,
       string_agg(format('a%1$s, b%1$s, c%1$s, d%1$s', i), ', ') AS plain
FROM generate_series(1, 10) i \gset
CREATE TEMP TABLE initial AS
SELECT g, 'site-' || g % 100 k1, md5(g::text) k2, 'item/' || g k3, :made FROM generate_series(1::bigint, :rows) g;
UPDATE initial SET a1 = 0 WHERE a1 IS NULL;
COPY (SELECT k1, k2, k3, :plain FROM initial ORDER BY k2) TO :'day1' WITH (FORMAT csv, HEADER);
COPY (SELECT k1, k2, k3, :changed FROM initial WHERE g % 5 <> 0
      UNION ALL
      SELECT k1, 'new' || k2, k3, :plain FROM initial WHERE g % 5 = 0
      ORDER BY 2)
  TO :'day2' WITH (FORMAT csv, HEADER);
