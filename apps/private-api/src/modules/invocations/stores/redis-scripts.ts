/**
 * What is done in Redis in one step. A record is a hash of `head`, `content`, `blob` and `bytes`; two sorted
 * sets tell when each was put and when it is old by its own saying, a hash how many bytes an owner has.
 * A member is ID:OWNER, and the record's key the prefix and the member.
 */

/** KEYS: record, times, ends, totals. ARGV: member, owner, head, content, blob, bytes, keep (ms; empty: no own). */
export const putScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local old = redis.call('HMGET', KEYS[1], 'blob', 'bytes')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'head', ARGV[3], 'content', ARGV[4], 'blob', ARGV[5], 'bytes', ARGV[6])
redis.call('ZADD', KEYS[2], now, ARGV[1])
if ARGV[7] == '' then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  redis.call('ZADD', KEYS[3], now + ARGV[7], ARGV[1])
end
redis.call('HINCRBY', KEYS[4], ARGV[2], tonumber(ARGV[6]) - tonumber(old[2] or '0'))
return old[1] or ''`;

/**
 * KEYS: times, ends, totals. ARGV: age (ms), limit (-1: none), prefix of records, `remove` or `look`.
 * Answers with count, bytes, and the blobs.
 */
export const oldScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local limit = tonumber(ARGV[2])
local count, bytes, blobs, seen = 0, 0, {}, {}
local function take(members)
  for _, member in ipairs(members) do
    if not seen[member] and (limit < 0 or count < limit) then
      seen[member] = true
      local record = redis.call('HMGET', ARGV[3] .. member, 'blob', 'bytes')
      count = count + 1
      bytes = bytes + tonumber(record[2] or '0')
      if record[1] and record[1] ~= '' then blobs[#blobs + 1] = record[1] end
      if ARGV[4] == 'remove' then
        redis.call('DEL', ARGV[3] .. member)
        redis.call('ZREM', KEYS[1], member)
        redis.call('ZREM', KEYS[2], member)
        local owner = string.sub(member, string.find(member, ':', 1, true) + 1)
        local left = redis.call('HINCRBY', KEYS[3], owner, -tonumber(record[2] or '0'))
        if left <= 0 then redis.call('HDEL', KEYS[3], owner) end
      end
    end
  end
end
take(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, limit))
take(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, limit))
return { count, bytes, blobs }`;
