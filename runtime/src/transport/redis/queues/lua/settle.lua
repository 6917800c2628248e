-- ARGV: '' or the milliseconds of a lease that has to be over; settlements. Answers what counted.
return settle(2, ARGV[1] ~= '' and ARGV[1] or nil)
