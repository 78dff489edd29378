{#-
  `relation` (with start_ts and sample_interval_ms) with `step_us`, the time since the start before
  it among rows of the same `unit`, and `window_us`, the longest step that stays in one group:
  max(scope_window_s, 2T) with T the longer interval of the two. Of starts at the same instant the
  longest interval comes last, so that `key` (which makes the order total) never decides a group.
-#}
{%- macro steps_between_starts(relation, unit, key) -%}
select
    *,
    {{ epoch_us('start_ts') }} - lag({{ epoch_us('start_ts') }}) over in_order as step_us,
    greatest(
        {{ us_var('scope_window_s') }},
        2000 * sample_interval_ms,
        2000 * coalesce(lag(sample_interval_ms) over in_order, 0)
    ) as window_us
from {{ relation }}
window in_order as (
    partition by {{ unit }}
    order by start_ts, sample_interval_ms, {{ key | join(', ') }}
)
{%- endmacro -%}
