{#-
  Parts of the pole health score, each from 0 to 1 and NULL where unknown, as select expressions
  over the columns share_out_of_limits, meters_with_event, meters_reporting, missing_rate, loading.
-#}
{%- macro health_parts() -%}
case
    when share_out_of_limits is not null
        then greatest(0, 1 - share_out_of_limits / {{ number_var('health_voltage_zero_share') }})
end as score_voltage,
case
    when meters_reporting > 0
        then greatest(0, 1 - meters_with_event / cast(meters_reporting as {{ type_double() }}))
end as score_events,
case
    when missing_rate is not null
        then greatest(0, 1 - missing_rate / {{ number_var('health_missing_zero_rate') }})
end as score_data,
case
    when loading is not null
        then greatest(
            0,
            least(
                1,
                ({{ number_var('health_loading_zero') }} - loading)
                / ({{ number_var('health_loading_zero') }} - {{ number_var('health_loading_full') }})
            )
        )
end as score_loading
{%- endmacro -%}
