{{ dr_event_totals(ref('dr_event_summary')) }}
