-- Eight requests at a time.
function init(args)
    local requests = {}
    for i = 1, 8 do
        requests[i] = wrk.format("GET")
    end
    pipelined = table.concat(requests)
end

function request()
    return pipelined
end
