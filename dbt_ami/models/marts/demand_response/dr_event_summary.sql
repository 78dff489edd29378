{{ dr_pole_totals(ref('dr_event_performance')) }}
