-- ARGV: '' or the lease of whoever takes entries from their owners; settlements. Answers what counted.
return settle(2, lease and is_over)
