-- Files and coroutines: write lines, read them back through a coroutine, count words, sort, seek.
local function writer(path, n)
  local f = assert(io.open(path, "w"))
  for i = 1, n do
    f:write(string.format("line %d of %s %s\n", i, path, string.rep("x", i % 50)))
  end
  f:close()
end

local function lines(path)
  return coroutine.wrap(function()
    for line in io.lines(path) do coroutine.yield(line) end
  end)
end

writer("one.txt", 20000)
writer("two.txt", 10000)
local count, bytes = 0, 0
for line in lines("one.txt") do count = count + 1; bytes = bytes + #line + 1 end
print("one.txt", count, bytes)

local producers = { lines("one.txt"), lines("two.txt") }
local merged = 0
while #producers > 0 do
  for i = #producers, 1, -1 do
    if producers[i]() then merged = merged + 1 else table.remove(producers, i) end
  end
end
print("merged", merged)

local f = assert(io.open("one.txt", "r+"))
assert(f:seek("end") == bytes)
assert(f:seek("set", 5))
f:write("CHANGED")
f:seek("set", 0)
print(f:read("l"))
f:close()
assert(os.rename("two.txt", "three.txt"))
assert(io.open("two.txt") == nil)
assert(os.remove("three.txt"))
local t = {}
for i = 1, 50000 do t[i] = (i * 7919) % 100003 end
table.sort(t)
for i = 2, #t do assert(t[i - 1] <= t[i]) end
print("sorted", t[1], t[#t])
local ok, err = pcall(error, { code = 42 })
print(ok, err.code, string.format("%.10f", math.sin(1)), os.time() > 1600000000)
print(select("#", string.byte("hello", 1, -1)), ("%5.2f|%-5s|%x"):format(3.14159, "ab", 255))
