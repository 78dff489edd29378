{#- `relation` as steps_between_starts gives it, with the `group_number` of each start. -#}
{%- macro numbered_start_groups(relation, unit, key) -%}
select
    *,
    sum(case when step_us <= window_us then 0 else 1 end) over (
        partition by {{ unit }}
        order by start_ts, sample_interval_ms, {{ key | join(', ') }}
        rows between unbounded preceding and current row
    ) as group_number
from {{ relation }}
{%- endmacro -%}
