{#-
  `relation` (with pole_id, feeder_id and the timestamp `at`) with one row per unit that it belongs
  to (pole, feeder, the whole system) and per calendar period (UTC month, UTC year).
-#}
{%- macro sarfi_units(relation, at) -%}
select
    {{ relation }}.*,
    units.unit_kind,
    case units.unit_kind
        when 'pole' then {{ relation }}.pole_id
        when 'feeder' then {{ relation }}.feeder_id
        else 'system'
    end as unit_id,
    periods.period_kind,
    case periods.period_kind
        when 'month' then cast({{ dbt.date_trunc('month', relation ~ '.' ~ at) }} as date)
        else cast({{ dbt.date_trunc('year', relation ~ '.' ~ at) }} as date)
    end as period_start
from {{ relation }}
cross join (
    select 'pole' as unit_kind
    union all
    select 'feeder' as unit_kind
    union all
    select 'system' as unit_kind
) as units
cross join (
    select 'month' as period_kind
    union all
    select 'year' as period_kind
) as periods
where units.unit_kind != 'feeder' or {{ relation }}.feeder_id is not null
{%- endmacro -%}
