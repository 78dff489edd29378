select
    meter_id,
    pole_id,
    transformer_id,
    feeder_id,
    nominal_voltage_v,
    sample_interval_ms,
    rated_kva,
    latitude,
    longitude,
    time_zone,
    valid_from,
    valid_to
from {{ source('lake', 'meters') }}
