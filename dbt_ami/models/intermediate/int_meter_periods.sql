select
    epochs.meter_id,
    epochs.epoch,
    service.sample_interval_ms,
    service.nominal_voltage_v,
    service.transformer_id,
    service.feeder_id,
    greatest(epochs.valid_from, service.attributes_from) as valid_from,
    least(epochs.valid_to, service.attributes_to) as valid_to
from {{ ref('int_meter_epochs') }} as epochs
inner join {{ ref('int_meter_service') }} as service
    on
        epochs.meter_id = service.meter_id
        and epochs.valid_from < service.attributes_to
        and service.attributes_from < epochs.valid_to
