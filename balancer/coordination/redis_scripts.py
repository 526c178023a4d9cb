"""What runs in Redis: each operation is one Lua script, and so atomic there.

Sent whole each time (EVAL): they are short and rare, and a Redis that has restarted has forgotten all it was taught, so
that naming them by digest would need a second way. Times in milliseconds, by Redis's own expiry.
"""

# A write, though of nothing: a replica refuses it. What a replica knows may be old, and to one that is cut off from its
# master every card has ended. A master becomes a replica without asking, so each script begins with a write.
_NOT_ON_REPLICAS = "redis.call('DEL', KEYS[1] .. '?')\n"

# KEYS: the set of proxies, the proxy's card. ARGV: proxy, card, time.
PUT_CARD = """
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('SADD', KEYS[1], ARGV[1])
"""

# KEYS: the card. ARGV: time. Returns 1, or 0 if there is none.
REFRESH_CARD = "return redis.call('PEXPIRE', KEYS[1], ARGV[1])"

# KEYS: the set of proxies, the card. ARGV: proxy.
DROP_CARD = """
redis.call('SREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
"""

# KEYS: the set of proxies; a card's key is made from it. Returns proxies and cards in turn; who has none is taken out.
CARDS = (
    _NOT_ON_REPLICAS
    + """
local cards = {}
for _, proxy in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local card = redis.call('GET', KEYS[1] .. ':' .. proxy)
  if card then
    table.insert(cards, proxy)
    table.insert(cards, card)
  else
    redis.call('SREM', KEYS[1], proxy)
  end
end
return cards
"""
)

# KEYS: the mutex, the last number. ARGV: owner, time. Returns the number, or nil if another has it. The number is at
# least the server's clock in ms, so that it goes on growing in a Redis that has lost its data.
LOCK = (
    _NOT_ON_REPLICAS
    + """
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then
  return false
end
local time = redis.call('TIME')
local number = math.max((redis.call('GET', KEYS[2]) or 0) + 1, time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('SET', KEYS[2], string.format('%.0f', number))
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'number', string.format('%.0f', number))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return number
"""
)

# KEYS: the mutex. ARGV: number. Returns 1, or 0 if it is not held under this one.
UNLOCK = (
    _NOT_ON_REPLICAS
    + """
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
"""
)

# KEYS: the record. Returns epoch and node; two nils if there is none.
MASTER = _NOT_ON_REPLICAS + "return redis.call('HMGET', KEYS[1], 'epoch', 'node')"

# KEYS: the record. ARGV: expected epoch, new epoch, new node. Returns epoch and node of what is then there.
SWAP_MASTER = (
    _NOT_ON_REPLICAS
    + """
if (redis.call('HGET', KEYS[1], 'epoch') or '0') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'node', ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'epoch', 'node')
"""
)
