-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Ends sessions whose server no longer answers (ADR 26). A stopped process keeps its connections open, and a caller would wait
-- until its own time-out. Arguments: this balancer's name, and how many of the other machines must be in sight.
--
-- `on-marked-down shutdown-sessions` is not used. A server that answers its checks with an error can finish its work. And a
-- session that is being connected when it is ended stays for ever (HAProxy 3.0.11): so sessions are ended when the server got
-- no new one for longer than `timeout connect`.

local here, needed = ...
needed = tonumber(needed)
local period_ms = 250
local connecting_s = 2.5
-- A connection to the service on this machine takes no longer.
local connecting_here_s = 0.5
-- Servers of the other backends track those of the first one and have the same names.
local backends = {
  store_dicom = {"store_dicom", "store_web", "stow_web", "echo_dicom", "commitment_dicom", "replicas"},
  query_dicom = {"query_dicom", "query_web", "retrieve_web", "search_web"},
}
-- By backend and server: the number of sessions that it ever had, and since when.
local seen = {}

local function is_down(stats)
  return stats.status:sub(1, 4) == "DOWN"
end

-- The last check got no answer in time, and the server is down.
local function hangs(stats)
  return is_down(stats) and (stats.check_status or ""):match("TOUT$") ~= nil
end

local function now_s()
  local now = core.now()
  return now.sec + now.usec / 1e6
end

local function quiet_s(place, total)
  if seen[place] == nil or seen[place].total ~= total then
    seen[place] = {total = total, since = now_s()}
  end
  return now_s() - seen[place].since
end

local function in_sight()
  local count = 0
  for _, machine in pairs(core.backends["quorum"].servers) do
    if not is_down(machine:get_stats()) then
      count = count + 1
    end
  end
  return count
end

local function watch(checked, name, alone)
  local hung = hangs(core.backends[checked].servers[name]:get_stats())
  -- The database confirms nothing to this side of a cut, so no store here can succeed. The callers must learn it before this
  -- machine gives the virtual address up.
  local lost = alone and checked == "store_dicom"
  local connecting_lost_s = name == here and connecting_here_s or connecting_s
  for _, backend in ipairs(backends[checked]) do
    local server = core.backends[backend].servers[name]
    local stats = server:get_stats()
    local quiet = quiet_s(backend .. "/" .. name, stats.stot)
    if stats.scur > 0 and (hung and quiet > connecting_s or lost and quiet > connecting_lost_s) then
      local reason = hung and "no-answer" or "no-majority"
      core.Warning("cut server=" .. backend .. "/" .. name .. " sessions=" .. stats.scur .. " reason=" .. reason)
      server:shut_sess()
    end
  end
end

core.register_task(function()
  while true do
    core.msleep(period_ms)
    local alone = needed > 0 and in_sight() < needed
    for checked in pairs(backends) do
      for name in pairs(core.backends[checked].servers) do
        watch(checked, name, alone)
      end
    end
  end
end)
