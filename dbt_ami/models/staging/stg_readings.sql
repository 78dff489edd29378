{{ deduplicated_readings() }}
