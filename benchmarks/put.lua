-- PUT of distinct bodies: wrk ... -- PREFIX BYTES SALT AUTHORIZATION [FIRST LAST]. Each body begins with its own number and is never sent twice.
local prefix, size, salt, authorization, first, last
local number, padding = 0, ""

function init(args)
  prefix, size, salt, authorization = args[1], tonumber(args[2]), args[3], args[4]
  first, last = tonumber(args[5] or "0"), tonumber(args[6] or "0")
  number = first
  padding = string.rep("x", math.max(0, size - 32))
end

function request()
  number = number + 1
  if last > 0 and number > last then wrk.thread:stop() end
  local body = string.format("%-31s ", salt .. number) .. padding
  return wrk.format("PUT", prefix .. salt .. number, { ["Authorization"] = authorization, ["Content-Length"] = #body }, body)
end
