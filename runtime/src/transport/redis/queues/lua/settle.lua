-- ARGV: '' or the milliseconds for which an entry has to have been idle; settlements. Answers what counted.
return settle(2, ARGV[1] ~= '' and ARGV[1] or nil)
