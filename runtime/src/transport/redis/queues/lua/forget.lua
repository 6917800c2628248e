-- ARGV: id, channel, payload.
remove_asker(ARGV[1], ARGV[2], ARGV[3])
return 0
