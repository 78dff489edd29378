-- Made by `python -m ami_contract.render`; edit ami_contract/ instead.
CREATE TABLE raw_meter_readings (
    event_ts TIMESTAMP WITH TIME ZONE NOT NULL,
    meter_id VARCHAR NOT NULL,
    pole_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    voltage_v DOUBLE NOT NULL,
    current_a DOUBLE NOT NULL,
    power_kw DOUBLE NOT NULL,
    reactive_kvar DOUBLE,
    freq_hz DOUBLE,
    quality_flags VARCHAR[],
    network_profile VARCHAR,
    gateway_id VARCHAR,
    gateway_ingest_ts TIMESTAMP WITH TIME ZONE,
    batch_id VARCHAR NOT NULL,
    ingest_ts TIMESTAMP WITH TIME ZONE NOT NULL,
    event_date DATE NOT NULL
);

CREATE TABLE compacted_readings (
    event_ts TIMESTAMP WITH TIME ZONE NOT NULL,
    meter_id VARCHAR NOT NULL,
    pole_id VARCHAR NOT NULL,
    seq BIGINT NOT NULL,
    voltage_v DOUBLE NOT NULL,
    current_a DOUBLE NOT NULL,
    power_kw DOUBLE NOT NULL,
    reactive_kvar DOUBLE,
    freq_hz DOUBLE,
    quality_flags VARCHAR[],
    network_profile VARCHAR,
    gateway_id VARCHAR,
    gateway_ingest_ts TIMESTAMP WITH TIME ZONE,
    batch_id VARCHAR NOT NULL,
    ingest_ts TIMESTAMP WITH TIME ZONE NOT NULL,
    event_date DATE NOT NULL,
    copies BIGINT NOT NULL,
    conflicting_copies BIGINT NOT NULL,
    flag_text VARCHAR,
    seq_step_before BIGINT,
    seq_step_after BIGINT
);

CREATE TABLE meters (
    meter_id VARCHAR NOT NULL,
    pole_id VARCHAR NOT NULL,
    transformer_id VARCHAR,
    feeder_id VARCHAR,
    nominal_voltage_v DOUBLE NOT NULL,
    sample_interval_ms BIGINT,
    rated_kva DOUBLE,
    latitude DOUBLE,
    longitude DOUBLE,
    time_zone VARCHAR,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE
);
