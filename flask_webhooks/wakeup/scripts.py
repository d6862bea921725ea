"""Atomic operations of hosts and drains in Redis: scripts over the keys of an installation.

A wake-up marks the installation *dirty*. If a drain *listens* (it runs and has slots), it is notified over its
wake-up channel; otherwise one job is enqueued, unless one is already *waiting* in the queue, or *entering* it. A
drain clears the mark before it looks for work and checks it again, atomically, as it leaves: no wake-up is lost.
"""

from __future__ import annotations

_NOW = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

#: Seconds after which unused keys expire.
_FORGOTTEN = 86400
#: Milliseconds for which an announced job that is not in the queue yet prevents others.
_ENTERING = 500

_NO_JOB_WAITS = f"""
local function no_job_waits(waiting, entering, queue, job)
    if redis.call('EXISTS', entering) == 1 then
        return 0
    end
    local id = redis.call('GET', waiting)
    if id and redis.call('LPOS', queue, id) then
        return 0
    end
    redis.call('SET', waiting, job, 'EX', {_FORGOTTEN})
    redis.call('SET', entering, 1, 'PX', {_ENTERING})
    return 1
end
"""

#: KEYS dirty, listening, waiting, entering, RQ queue; ARGV new job id, how channels begin. Returns 1: enqueue
#: that job. The drain that spoke last is notified; one that has not taken its last notice yet is passed over.
NOTIFY = (
    _NOW
    + _NO_JOB_WAITS
    + f"""
redis.call('SET', KEYS[1], 1, 'EX', {_FORGOTTEN})
"""
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local drains = redis.call('ZREVRANGE', KEYS[2], 0, -1)
for _, drain in ipairs(drains) do
    local channel = ARGV[2] .. drain
    if redis.call('LLEN', channel) == 0 then
        redis.call('RPUSH', channel, 1)
        redis.call('EXPIRE', channel, 60)
        return 0
    end
end
if #drains > 0 then
    return 0
end
return no_job_waits(KEYS[3], KEYS[4], KEYS[5], ARGV[1])
"""
)

#: KEYS drains, RQ's workers of the queue, waiting, entering, RQ queue; ARGV new job id. Returns 1: enqueue it.
REQUEST_WORKER = (
    _NOW
    + _NO_JOB_WAITS
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= redis.call('SCARD', KEYS[2]) then
    return 0
end
return no_job_waits(KEYS[3], KEYS[4], KEYS[5], ARGV[1])
"""
)

#: KEYS alarm, RQ's scheduled jobs; ARGV Unix milliseconds, new job id, how job keys begin. Returns 1:
#: schedule that job for then. There is one alarm at a time; a sooner one takes the place of a later one.
SCHEDULE = (
    _NOW
    + """
local at = tonumber(ARGV[1])
local set, job = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (.+)$')
if set then
    set = tonumber(set)
    if set > now and redis.call('ZSCORE', KEYS[2], job) then
        if set <= at then
            return 0
        end
        redis.call('ZREM', KEYS[2], job)
        redis.call('DEL', ARGV[3] .. job)
    end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', math.max(at - now, 0) + 1000)
return 1
"""
)

#: KEYS RQ's scheduled jobs; ARGV Unix seconds, how ids of alarm jobs begin, how job keys begin.
#: Removes alarms that should have gone off: no scheduler runs. Returns how many.
FORGET_PAST = """
local removed = 0
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1000)) do
    if string.sub(job, 1, #ARGV[2]) == ARGV[2] then
        redis.call('ZREM', KEYS[1], job)
        redis.call('DEL', ARGV[3] .. job)
        removed = removed + 1
    end
end
return removed
"""

#: KEYS drains, listening; ARGV id, milliseconds, whether it has free slots (1 or 0).
PRESENT = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if ARGV[3] == '1' then
    redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
else
    redis.call('ZREM', KEYS[2], ARGV[1])
end
"""
    + f"""
redis.call('EXPIRE', KEYS[1], {_FORGOTTEN})
redis.call('EXPIRE', KEYS[2], {_FORGOTTEN})
return 1
"""
)

#: KEYS dirty, drains, listening; ARGV id. Returns 0 when there is new work: stay, and look; the mark is gone.
LEAVE = """
if redis.call('DEL', KEYS[1]) == 1 then
    return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
"""
