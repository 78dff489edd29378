{#-
  CTE `name`: spans of time (`from_us`, `to_us`) in which `model` says something else of its `units`
  than after the last complete build; each of its rows is valid from `from_column` to `to_column`
  (exclusive). Where one row of a unit took the place of one, only the time between the old and the
  new ends has changed.
-#}
{%- macro changed_spans(name, model, units, from_column, to_column) -%}
{%- set columns = units + [from_column, to_column] -%}
{{ name }}_states as (
    select distinct
        {{ columns | join(',\n        ') }},
        1 as is_new
    from {{ ref(model) }}
    union all
    select distinct
        {{ columns | join(',\n        ') }},
        0 as is_new
    from {{ built(model, columns) }} as before_it
),

{{ name }}_changes as (
    select
        {{ columns | join(',\n        ') }},
        max(is_new) as is_new
    from {{ name }}_states
    group by {{ columns | join(', ') }}
    having count(*) = 1
),

{{ name }}_ends as (
    select
        count(*) = 2 and min(is_new) != max(is_new) as is_moved,
        {{ epoch_us('min(' ~ from_column ~ ')') }} as first_from_us,
        {{ epoch_us('max(' ~ from_column ~ ')') }} as last_from_us,
        {{ epoch_us('min(' ~ to_column ~ ')') }} as first_to_us,
        {{ epoch_us('max(' ~ to_column ~ ')') }} as last_to_us
    from {{ name }}_changes
    group by {{ units | join(', ') }}
),

{{ name }} as (
    select distinct
        first_from_us as from_us,
        case when is_moved then last_from_us else last_to_us end as to_us
    from {{ name }}_ends
    union distinct
    select
        first_to_us as from_us,
        last_to_us as to_us
    from {{ name }}_ends
    where is_moved
)
{%- endmacro -%}
