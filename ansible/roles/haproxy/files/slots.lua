-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Counts the storing associations above those that are kept for each caller (ADR 26). Argument: how many are kept for each.

local kept = tonumber((...))

core.register_fetches("storing_above_kept", function()
  local above = 0
  for _, entry in pairs(core.backends["storing_of_callers"].stktable:dump()) do
    above = above + math.max(0, entry.conn_cur - kept)
  end
  return above
end)
