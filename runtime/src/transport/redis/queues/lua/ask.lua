-- ARGV: id; then, of one who wants to be told, channel, payload, and for how many milliseconds.
-- Answers {'ended', what is kept, since when}, {'dead', entry, reason, record}, {'open', state}, {'nothing'}, or {'more'}: whoever asks again goes on from there.
local id = ARGV[1]
local value, at = result_of(id)
if value == 'more' then return cmsgpack.pack({'more'}) end
if value then return cmsgpack.pack({'ended', value, at}) end
local stream, entry, fields = seek(id, channels_from(5))
if not stream or stream == 'more' then return cmsgpack.pack({stream or 'nothing'}) end
if stream == 'dead' then
    return cmsgpack.pack({'dead', entry, field(fields, 'reason') or '', field(fields, 'record') or ''})
end
if ARGV[2] then add_asker(id, ARGV[2], ARGV[3], now + ARGV[4]) end
local state = stream == 'held' and 'delayed' or stream
if stream ~= 'held' and stream ~= 'parked' then state = owner_of(stream, entry) and 'running' or 'waiting' end
return cmsgpack.pack({'open', state})
