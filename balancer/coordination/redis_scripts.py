"""What runs in Redis: each operation is one Lua script, and so atomic there.

Sent whole each time (EVAL): they are short and rare, and a Redis that has restarted has forgotten all it was taught, so
that naming them by digest would need a second way. Times in milliseconds, by Redis's own expiry.
"""

from holdfast.balancer.coordination.contents import MAX_CARD_BYTES, MAX_CARDS, MAX_NAME_LENGTH, MAX_RECORD_BYTES

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
# What can't be right is not even fetched: of a set of 50,000 each costs time here, and a text may have 512 MiB.
CARDS = (
    _NOT_ON_REPLICAS
    + f"""
if redis.call('SCARD', KEYS[1]) > {2 * MAX_CARDS} then
  return redis.error_reply('expected at most {MAX_CARDS} cards in ' .. KEYS[1])
end
local cards = {{}}
for _, proxy in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if #proxy > {MAX_NAME_LENGTH} then
    return redis.error_reply('expected ids of proxies in ' .. KEYS[1])
  end
  if redis.call('STRLEN', KEYS[1] .. ':' .. proxy) > {MAX_CARD_BYTES} then
    return redis.error_reply('expected at most {MAX_CARD_BYTES} bytes in ' .. KEYS[1] .. ':' .. proxy)
  end
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

# KEYS: the record. Returns epoch and node; two nils if there is none.
_READ_RECORD = f"""
if redis.call('HSTRLEN', KEYS[1], 'epoch') > 64 or redis.call('HSTRLEN', KEYS[1], 'node') > {MAX_RECORD_BYTES} then
  return redis.error_reply('expected an epoch and a record in ' .. KEYS[1] .. ', both are not so long')
end
return redis.call('HMGET', KEYS[1], 'epoch', 'node')
"""
MASTER = _NOT_ON_REPLICAS + _READ_RECORD

# KEYS: the record. ARGV: expected epoch, new epoch, new node. Returns epoch and node of what is then there.
SWAP_MASTER = (
    _NOT_ON_REPLICAS
    + """
if (redis.call('HGET', KEYS[1], 'epoch') or '0') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'node', ARGV[3])
end
"""
    + _READ_RECORD
)
