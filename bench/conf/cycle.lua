-- Objects 0 to N in an order that visits all of them: `wrk … -- PREFIX COUNT`.
local at, count, prefix = 0, 1, ""

function init(args)
    prefix, count = args[1], tonumber(args[2])
end

function request()
    -- A prime, so that every object has its turn.
    at = (at + 7919) % count
    return wrk.format("GET", prefix .. at)
end
