-- ARGV: instance, then channel and id of each task that a blocked read has brought.
owner = ARGV[1]
for at = 2, #ARGV, 2 do tell('taken', ARGV[at + 1], ARGV[at]) end
return 0
