"""What runs in Redis: each operation on logs is one Lua script, and so atomic there.

Keys, all made from the first, which has the hash tag:
    P                  hash: id (of this store, since it was empty), change (the last one), size (of all logs)
    P:changes          sorted set: channels by their last change; P:ends by when they end; P:sizes by size
    P:log:CHANNEL      hash: what is so of the log
    P:pub:CHANNEL      stream: what is kept. An entry's id is OFFSET-MILLISECONDS; offsets follow on each other, so the
                       first one is known by their number. m: is_text, and payload bytes and size of all up to it, so
                       that what is taken from the front is known without being read
    P:known:NUMBER     hash: identities of a span of time, of all channels, and the places that they got

Times in milliseconds, by Redis's clock, but for tests. Numbers are written by `text`: Lua writes large ones otherwise
as 1.8e+15. What can't be right makes a script fail, which is LogUnavailable.
"""

from hashlib import sha1

from holdfast.balancer.history.base import LOG_BYTES, PUBLICATION_BYTES, RENEWED_AGE, TINY_BYTES

# With one script: logs that have ended, publications for which there is no room.
ENDED_AT_ONCE = 8
MAKING_ROOM_AT_ONCE = 256
CHUNK = 64  # entries that are read at once, at most
SLACK = 86_400_000  # for which what belongs to all logs outlives the last of them

# A write, though of nothing: a replica refuses it, and what it knows may be old.
_NOT_ON_REPLICAS = """
local P = KEYS[1]
redis.call('DEL', P .. '?')
"""

# A write that takes memory: if there is none (maxmemory) Redis refuses the script by that, and only if it is the first.
_NOT_WITHOUT_MEMORY = """
local P = KEYS[1]
redis.call('HSETNX', P, 'id', ARGV[2])
"""

# ARGV[1]: now, or ''.
_PRELUDE = f"""
local function text(number) return string.format('%.0f', number) end
local now, micros
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
  micros = now * 1000
else
  local time = redis.call('TIME')
  micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
  now = math.floor(micros / 1000)
end

local function log_key(channel) return P .. ':log:' .. channel end
local function pub_key(channel) return P .. ':pub:' .. channel end

local function forget(channel)
  local size = redis.call('ZSCORE', P .. ':sizes', channel)
  if size then redis.call('HINCRBY', P, 'size', text(-tonumber(size))) end
  redis.call('UNLINK', log_key(channel), pub_key(channel))
  for _, of in ipairs({{':changes', ':ends', ':sizes'}}) do redis.call('ZREM', P .. of, channel) end
end

-- payload_bytes, taken: of all publications since the epoch began. size: what it takes now
local function read_log(channel)
  local found = redis.call('HMGET', log_key(channel),
    'epoch', 'last', 'at', 'age', 'ends', 'payload_bytes', 'taken', 'size')
  if not found[1] then return nil end
  local log = {{channel = channel, epoch = found[1]}}
  for index, name in ipairs({{'last', 'at', 'age', 'ends', 'payload_bytes', 'taken', 'size'}}) do
    log[name] = tonumber(found[index + 1])
    if not log[name] then error('no log in ' .. log_key(channel)) end
  end
  return log
end

local function present(channel)
  local log = read_log(channel)
  if log and log.ends > now then return log end
  forget(channel)
  return nil
end

local function next_change()
  local change = math.max(tonumber(redis.call('HGET', P, 'change') or '0') + 1, micros)
  redis.call('HSET', P, 'change', text(change))
  return change
end

local function begin(channel, epoch, age, ends)
  forget(channel)
  return {{channel = channel, epoch = epoch, last = 0, at = now, age = age, ends = ends, payload_bytes = 0, taken = 0,
    size = 0, change = next_change()}}
end

-- What belongs to all logs is there for longer than any of them
local function outlive(age)
  local duration = age + {SLACK}
  if redis.call('PTTL', P) < duration then
    for _, of in ipairs({{'', ':changes', ':ends', ':sizes'}}) do
      redis.call('PEXPIRE', P .. of, text(2 * duration))
    end
  end
end

local function write_log(log, size)
  local channel = log.channel
  if size ~= log.size then redis.call('HINCRBY', P, 'size', text(size - log.size)) end
  log.size = size
  redis.call('HSET', log_key(channel), 'epoch', log.epoch, 'last', text(log.last), 'at', text(log.at),
    'age', text(log.age), 'ends', text(log.ends), 'payload_bytes', text(log.payload_bytes),
    'taken', text(log.taken), 'size', text(size))
  local left = text(math.max(1, log.ends - now))
  redis.call('PEXPIRE', log_key(channel), left)
  redis.call('PEXPIRE', pub_key(channel), left)
  if log.change then redis.call('ZADD', P .. ':changes', text(log.change), channel) end
  redis.call('ZADD', P .. ':ends', text(log.ends), channel)
  redis.call('ZADD', P .. ':sizes', text(size), channel)
end

-- The publication at an offset: when it was appended, and what all before it have taken
local function entry(channel, offset)
  local found = redis.call('XRANGE', pub_key(channel), text(offset), text(offset), 'COUNT', 1)[1]
  if not found then error('offset ' .. text(offset) .. ' is not in ' .. pub_key(channel)) end
  local at = string.match(found[1], '-(%d+)$')
  local fields = found[2]
  local _, payload_bytes, taken = string.match(fields[8] or '', '^(%d) (%d+) (%d+)$')
  if not taken then error('no publication in ' .. pub_key(channel)) end
  return tonumber(at), tonumber(payload_bytes) - #fields[2],
    tonumber(taken) - #fields[2] - #fields[4] - #fields[6] - {PUBLICATION_BYTES}
end

-- How many from the front are to go. keep.messages and keep.bytes nil: only those that are too old. In ever larger
-- steps, then in smaller ones: of those that stay one is looked at, and of those that go few
local function too_many(log, kept, messages, bytes)
  local first = log.last - kept + 1
  local function goes(index)
    local at, before = entry(log.channel, first + index)
    return at + log.age <= now or (bytes and bytes > 0 and log.payload_bytes - before > bytes)
  end
  local number = math.min(kept, math.max(0, kept - (messages or kept)))
  local step = 1
  while number + step <= kept and goes(number + step - 1) do
    number = number + step
    step = step * 2
  end
  while step > 1 do
    step = step / 2
    if number + step <= kept and goes(number + step - 1) then number = number + step end
  end
  return number
end

local function size_of(log, kept)
  if kept == 0 then return {LOG_BYTES} end
  local _, _, before = entry(log.channel, log.last - kept + 1)
  return {LOG_BYTES} + log.taken - before
end
"""

# ARGV: now, epoch, max_bytes, remember, max_identities; then of each: channel, identity, payload, is_text, note,
# messages, bytes, age. Returns for each epoch, offset, and whether it is new; how many had to go for want of room, and
# how often identities were forgotten early.
APPEND = (
    _NOT_WITHOUT_MEMORY
    + _PRELUDE
    + f"""
local max_bytes, remember, max_identities = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

for _, channel in ipairs(redis.call('ZRANGEBYSCORE', P .. ':ends', '-inf', text(now), 'LIMIT', 0, {ENDED_AT_ONCE})) do
  forget(channel)
end

local span = math.floor(now / remember)
local known, before = P .. ':known:' .. text(span), P .. ':known:' .. text(span - 1)
redis.call('UNLINK', P .. ':known:' .. text(span - 2), P .. ':known:' .. text(span - 3))
local is_known_new = redis.call('EXISTS', known) == 0

local logs, changed = {{}}, {{}}

local function trim(log)
  local kept = redis.call('XLEN', pub_key(log.channel))
  local number = too_many(log, kept, log.messages, log.bytes)
  if number > 0 then redis.call('XTRIM', pub_key(log.channel), 'MAXLEN', text(kept - number)) end
  return kept - number
end

local function append(at)
  local channel, identity, payload, is_text, note = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local messages, bytes, age = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local name = #channel .. ':' .. channel .. identity
  local place = redis.call('HGET', known, name) or redis.call('HGET', before, name)
  if place then
    local offset, epoch = string.match(place, '^(%d+) (.*)$')
    return {{epoch, offset, 0}}
  end
  local log = logs[channel]
  if not log then
    log = present(channel) or begin(channel, ARGV[2] .. '.' .. string.format('%x', at), age, now + age)
    logs[channel] = log
    table.insert(changed, log)
  end
  if log.age ~= age or (log.messages or messages) ~= messages or (log.bytes or bytes) ~= bytes then
    trim(log)  -- what is gone by what was said before stays so
  end
  log.at = math.max(log.at, now)
  log.last = log.last + 1
  log.payload_bytes = log.payload_bytes + #payload
  log.taken = log.taken + #payload + #identity + #note + {PUBLICATION_BYTES}
  log.messages, log.bytes, log.age, log.ends = messages, bytes, age, log.at + age
  log.change = next_change()
  redis.call('XADD', pub_key(channel), text(log.last) .. '-' .. text(log.at), 'p', payload, 'i', identity, 'n', note,
    'm', is_text .. ' ' .. text(log.payload_bytes) .. ' ' .. text(log.taken))
  redis.call('HSET', known, name, text(log.last) .. ' ' .. log.epoch)
  if is_known_new then
    redis.call('PEXPIRE', known, text(4 * remember))
    is_known_new = false
  end
  return {{log.epoch, text(log.last), 1}}
end

local answer, made_room, forgotten_early = {{}}, 0, 0
for at = 6, #ARGV, 8 do
  if redis.call('HLEN', known) >= max_identities / 2 then
    redis.call('UNLINK', before)
    redis.call('RENAME', known, before)
    is_known_new = true
    forgotten_early = forgotten_early + 1
  end
  table.insert(answer, append(at))
end
local age = 0
for _, log in ipairs(changed) do
  write_log(log, size_of(log, trim(log)))
  age = math.max(age, log.age)
end
if age > 0 then outlive(age) end

for _ = 1, {MAKING_ROOM_AT_ONCE} do
  if tonumber(redis.call('HGET', P, 'size') or '0') <= max_bytes then break end
  local largest = redis.call('ZREVRANGE', P .. ':sizes', 0, 0, 'WITHSCORES')
  if not largest[1] then break end
  local channel = largest[1]
  if tonumber(largest[2]) < {TINY_BYTES} then channel = redis.call('ZRANGE', P .. ':changes', 0, 0)[1] or channel end
  local log = present(channel)
  if log and tonumber(largest[2]) < {TINY_BYTES} and not logs[channel] then
    forget(channel)
    made_room = made_room + 1
  elseif log then
    local kept = redis.call('XLEN', pub_key(channel))
    if kept == 0 then break end
    redis.call('XTRIM', pub_key(channel), 'MAXLEN', text(kept - 1))
    write_log(log, size_of(log, kept - 1))
    made_room = made_room + 1
  end
end
return {{answer, made_room, forgotten_early}}
"""
)

# ARGV: now, channel, after, limit, max_bytes. Returns epoch, first, last, and all publications in one text: a client
# takes half the time for that than for a list of lists. Of each the lengths of id, m, identity, note and payload, then
# these.
READ = (
    _NOT_ON_REPLICAS
    + _PRELUDE
    + f"""
local channel, after, limit, left = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local log = present(channel)
if not log then return {{'', '1', '0', ''}} end
local kept = redis.call('XLEN', pub_key(channel))
local first = log.last - kept + 1 + too_many(log, kept)
local found = {{}}

local function collect(entries)
  for _, entry in ipairs(entries) do
    local id, fields = entry[1], entry[2]
    local payload, identity, note, measures = fields[2], fields[4], fields[6], fields[8]
    if #found > 0 and #payload > left then return false end
    left = left - #payload
    table.insert(found, struct.pack('>I4I4I4I4I4', #id, #measures, #identity, #note, #payload)
      .. id .. measures .. identity .. note .. payload)
  end
  return true
end

local next, chunk = math.max(first, after + 1), 1
while next <= log.last and #found < limit do
  local entries = redis.call('XRANGE', pub_key(channel), text(next), '+',
    'COUNT', text(math.min(chunk, limit - #found)))
  if #entries == 0 or not collect(entries) then break end
  next = next + #entries
  chunk = math.min(2 * chunk, {CHUNK})
end
return {{log.epoch, text(first), text(log.last), table.concat(found)}}
"""
)

# ARGV: now, an id, the id and the change that the cursor has ('': from now on), limit. Returns id, change, and of each:
# channel, epoch, last.
NEWS = (
    _NOT_ON_REPLICAS
    + _PRELUDE
    + """
if not redis.call('HGET', P, 'id') then redis.call('HSET', P, 'id', ARGV[2]) end
local id, last = redis.call('HGET', P, 'id'), redis.call('HGET', P, 'change') or '0'
if ARGV[3] == '' then return {id, last, {}} end
local cursor = ARGV[4]
if ARGV[3] ~= id or tonumber(cursor) > tonumber(last) then cursor = '0' end
local limit, found = tonumber(ARGV[5]), {}
while #found < limit do
  local changed = redis.call('ZRANGEBYSCORE', P .. ':changes', '(' .. cursor, '+inf', 'WITHSCORES',
    'LIMIT', 0, text(limit - #found))
  if #changed == 0 then break end
  for index = 1, #changed, 2 do
    local log = present(changed[index])
    if log then table.insert(found, {changed[index], log.epoch, text(log.last)}) end
    cursor = text(tonumber(changed[index + 1]))
  end
end
return {id, cursor, found}
"""
)

# ARGV: now, the next epoch, channel, the epoch that it must be. Returns the one that it is then.
RENEW = (
    _NOT_WITHOUT_MEMORY
    + _PRELUDE
    + f"""
local epoch, channel = ARGV[2], ARGV[3]
local log = present(channel)
if (log and log.epoch or '') ~= ARGV[4] then return log and log.epoch or '' end
local age, ends = {RENEWED_AGE * 1000:.0f}, now + {RENEWED_AGE * 1000:.0f}
if log then age, ends = log.age, log.ends end
write_log(begin(channel, epoch, age, ends), {LOG_BYTES})
outlive(age)
return epoch
"""
)


def digest(script: str) -> str:
    """By which a server knows it that has run it."""
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
