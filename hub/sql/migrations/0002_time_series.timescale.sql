-- Readings and positions on TimescaleDB: the same names as on plain PostgreSQL, with chunks, compression and kept aggregates.
CREATE TABLE reading (
    series_id integer NOT NULL,
    at        timestamptz NOT NULL,
    value     double precision NOT NULL,
    PRIMARY KEY (series_id, at)
);

CREATE TABLE position (
    tracker_id integer NOT NULL,
    at         timestamptz NOT NULL,
    latitude   double precision NOT NULL,
    longitude  double precision NOT NULL,
    speed_mps  double precision,
    course_deg double precision,
    accuracy_m double precision,                   -- radius the tracker claims, if it does
    coordinate_system text NOT NULL DEFAULT 'wgs84' CHECK (coordinate_system IN ('wgs84', 'gcj02')),  -- of what it told
    told_latitude  double precision,               -- as it came, when that was not WGS-84; latitude and longitude always are
    told_longitude double precision,
    PRIMARY KEY (tracker_id, at)
);

-- The primary keys serve every query of ours; the default index on the time alone would only slow the writing.
SELECT create_hypertable('reading', by_range('at', INTERVAL '7 days'), create_default_indexes => false);
SELECT create_hypertable('position', by_range('at', INTERVAL '7 days'), create_default_indexes => false);

ALTER TABLE reading SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'series_id', timescaledb.compress_orderby = 'at'
);
ALTER TABLE position SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'tracker_id', timescaledb.compress_orderby = 'at'
);

-- Gateways replay what they kept while the network was down: a chunk rests for a month before it is compressed.
SELECT add_compression_policy('reading', compress_after => INTERVAL '35 days');
SELECT add_compression_policy('position', compress_after => INTERVAL '35 days');

-- Chunks are made by the extension; the function stays so that the writers are the same on both stores.
CREATE FUNCTION ensure_partitions(first timestamptz, last timestamptz) RETURNS void LANGUAGE sql AS $$ SELECT $$;

CREATE MATERIALIZED VIEW reading_hourly WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT series_id, time_bucket(INTERVAL '1 hour', at) AS hour,
       count(*) AS readings, min(value) AS min_value, max(value) AS max_value, avg(value) AS mean_value
FROM reading GROUP BY series_id, time_bucket(INTERVAL '1 hour', at)
WITH NO DATA;

CREATE MATERIALIZED VIEW position_hourly WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT tracker_id, time_bucket(INTERVAL '1 hour', at) AS hour,
       count(*) AS fixes, max(speed_mps) AS max_speed_mps
FROM position GROUP BY tracker_id, time_bucket(INTERVAL '1 hour', at)
WITH NO DATA;

-- No start: a late fact makes its own hour stale, and only stale hours are computed again.
SELECT add_continuous_aggregate_policy('reading_hourly',
    start_offset => NULL, end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes');
SELECT add_continuous_aggregate_policy('position_hourly',
    start_offset => NULL, end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '30 minutes');
