-- datamill 1.0: install script. Sections stand in the order of the flow:
-- store, source, fdw, receipt, load, cdc, transform, job.
\echo Use "CREATE EXTENSION datamill" to load this file. \quit

---------------------------------------------------------------- fdw

---------------------------------------------------------------- receipt

---------------------------------------------------------------- cdc
