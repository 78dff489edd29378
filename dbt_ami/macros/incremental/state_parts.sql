{#-
  The parts of the project that are complete each by itself, so that one may be built more often
  than the other. Per part: `lists`, models that list windows and note them until the part is
  complete, and `compared`, models of which it keeps what they held.
-#}
{%- macro state_parts() -%}
{{ return({
    'readings': {
        'lists': ['int_landed_windows'],
        'compared': [
            'int_meter_intervals', 'int_meter_periods', 'int_meter_service', 'int_seq_conflicts',
            'int_lake_range', 'voltage_events',
        ],
    },
    'demand_response': {
        'lists': [
            'int_touched_slot_windows', 'int_changed_day_windows', 'int_estimated_windows',
            'int_baseline_windows',
        ],
        'compared': [
            'int_meter_service', 'outages', 'int_dr_event_poles', 'int_pole_time_zones',
            'int_zone_holidays', 'int_meter_fill_days', 'int_dr_placebo_windows',
        ],
    },
}) }}
{%- endmacro -%}
