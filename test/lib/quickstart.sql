-- Two days of a customer extract: 10,000 customers, then 20 % gone, 40 % changed, 40 % as they were, and 2,000 new ones.
SELECT * FROM datamill.generate_cdc(10000, 10000, 5, 10, 0.2, 0.4, 0.4, 's3://retail/day1', 's3://retail/day2', 42);
-- Day 1 makes the current table and fills it.
SELECT * FROM datamill.cdc_merge('dim.customer', 's3://retail/day1/*.csv', keys => '{key1,key2,key3,key4,key5}', effective => '2019-06-18');
-- Day 2 is compared with it.
SELECT * FROM datamill.cdc_merge('dim.customer', 's3://retail/day2/*.csv', effective => '2019-06-19');
-- Every version of every customer: three of them. The first one's customer is gone on day 2, the other two are one customer's.
SELECT key1, value1, operation, eff_start_date, eff_end_date, valid
  FROM dim.customer_versions WHERE key1 IN ('0006309f-6240-4147-8cfd-be643795f607', '0006fbd9-75ab-4c88-8289-bcfcd2014f24')
  ORDER BY key1, eff_start_date;
-- The customers as they were on the first day.
SELECT count(*) AS customers, sum(value1) AS value1
  FROM dim.customer_versions WHERE valid @> '2019-06-18'::date;
