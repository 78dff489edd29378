{{ restated_readings() }}
{{ deduplicated_readings() }}
