-- OCI blobs as docker pushes them, POST then PUT: wrk ... -- REPOSITORY BYTES DIGESTS AUTHORIZATION. DIGESTS has a line "number digest" per
-- body. Whichever connection is free completes an upload that any of them opened.
local repository, size, authorization
local digests, opened, number, padding = {}, {}, 0, ""
uploaded = 0

function init(args)
  repository, size, authorization = args[1], tonumber(args[2]), args[4]
  for line in io.lines(args[3]) do
    local name, digest = line:match("(%S+) (%S+)")
    digests[#digests + 1] = { name, digest }
  end
  padding = string.rep("x", size - 32)
end

local fields = {}
function request()
  local location = table.remove(opened)
  if location and digests[number + 1] then
    number = number + 1
    local body = string.format("%-31s ", digests[number][1]) .. padding
    local joint = location:find("?", 1, true) and "&" or "?"
    return wrk.format("PUT", location .. joint .. "digest=" .. digests[number][2],
      { ["Authorization"] = authorization, ["Content-Length"] = #body, ["Content-Type"] = "application/octet-stream" }, body)
  end
  return wrk.format("POST", "/v2/" .. repository .. "/blobs/uploads/", { ["Authorization"] = authorization, ["Content-Length"] = 0 }, "")
end

function response(status, headers)
  if status == 202 then
    local location = headers["Location"] or headers["location"]
    opened[#opened + 1] = location:gsub("^http://[^/]+", "")
  elseif status == 201 then
    uploaded = uploaded + 1
  end
end

local threads = {}
function setup(thread) threads[#threads + 1] = thread end
function done()
  local total = 0
  for _, thread in ipairs(threads) do total = total + thread:get("uploaded") end
  io.write(string.format("uploaded %d\n", total))
end
