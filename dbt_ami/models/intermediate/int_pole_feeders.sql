select
    pole_id,
    max(feeder_id) as feeder_id
from {{ ref('int_meter_service') }}
group by pole_id
