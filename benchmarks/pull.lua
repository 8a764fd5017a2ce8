-- GETs of the paths in a file, over and over in its order: wrk ... -- FILE.
local requests, number = {}, 0

function init(args)
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format("GET", path) end
end

function request()
  number = number % #requests + 1
  return requests[number]
end
