-- Where a schedule stands, and the clock. ARGV: the schedule.
return { now, call('HGET', P .. 'schedules', ARGV[1]) }
