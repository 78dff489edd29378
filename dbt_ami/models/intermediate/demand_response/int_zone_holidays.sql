select distinct
    zones.time_zone,
    {{ day_number_of_date('holidays.day') }} as day_number
from {{ ref('holidays') }} as holidays
inner join {{ ref('int_pole_time_zones') }} as zones
    on holidays.zone = 'all' or holidays.zone = zones.time_zone
