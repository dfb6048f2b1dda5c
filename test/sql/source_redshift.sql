-- Options as Redshift's COPY spells them, with what its guide says of each.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA redshift;
SET search_path = redshift;
\pset null NULL
CREATE SERVER redshift_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE t (id int, name text, code varchar(3), n int)
  SERVER redshift_lake OPTIONS (url 's3://redshift/a.txt', delimiter '|', ignoreheader '2');
CREATE VIEW shown AS SELECT id, '<' || name || '>' AS name, '<' || code || '>' AS code, n FROM t;

-- Line by line, each bad one an error until an option takes it.
SELECT * FROM shown;
ALTER FOREIGN TABLE t OPTIONS (ADD truncatecolumns 'true');
SELECT * FROM shown;
ALTER FOREIGN TABLE t OPTIONS (ADD ignoreblanklines 'true');
SELECT * FROM shown;
ALTER FOREIGN TABLE t OPTIONS (ADD fillrecord 'true');
SELECT * FROM shown;
ALTER FOREIGN TABLE t OPTIONS (ADD acceptinvchars '?');
SELECT * FROM shown;
-- maxerror: the load fails when there are so many, not only beyond.
ALTER FOREIGN TABLE t OPTIONS (ADD maxerror '2');
SELECT * FROM shown;
ALTER FOREIGN TABLE t OPTIONS (SET maxerror '3');
SELECT * FROM shown;
SELECT row_no, line_no, column_name, sqlstate, message, record FROM datamill.rejects WHERE object = 's3://redshift/a.txt' ORDER BY reject_no;
ALTER FOREIGN TABLE t OPTIONS (ADD trimblanks 'true');
SELECT * FROM shown;
ALTER FOREIGN TABLE t OPTIONS (ADD blanksasnull 'true');
SELECT * FROM shown;
ALTER FOREIGN TABLE t OPTIONS (ADD emptyasnull 'true');
SELECT * FROM shown;

-- As a source, too: the columns are counted.
SELECT inserted, rejected FROM datamill.cdc_merge('redshift.dim', 's3://redshift/a.txt', keys => '{column1}', effective => '2024-01-01',
  options => '{"server": "redshift_lake", "delimiter": "|", "ignoreheader": 2, "ignoreblanklines": true, "fillrecord": true, "acceptinvchars": "?", "maxerror": 5}');
SELECT column1, column2, column3, column4 FROM dim ORDER BY column1;

-- What cannot be.
ALTER FOREIGN TABLE t OPTIONS (ADD header 'true');
ALTER FOREIGN TABLE t OPTIONS (ADD match 'name');
ALTER FOREIGN TABLE t OPTIONS (ADD on_error 'stop');
ALTER FOREIGN TABLE t OPTIONS (SET acceptinvchars 'é');
ALTER FOREIGN TABLE t OPTIONS (ADD encoding 'LATIN1');
ALTER FOREIGN TABLE t OPTIONS (SET trimblanks 'perhaps');
DROP SCHEMA redshift CASCADE;
DROP SERVER redshift_lake;
