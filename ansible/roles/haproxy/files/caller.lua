-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Answers which address calls with an AE title: the address, "several" or "unknown" (ADR 22).
-- Each key of the table is a calling title, a blank and an address that had an association with it.

local function address_of(title)
  local found = "unknown"
  for key in pairs(core.backends["addresses_of_callers"].stktable:dump()) do
    local calling, address = key:match("^(.*) (%S+)$")
    if calling == title then
      if found ~= "unknown" then
        return "several"
      end
      found = address
    end
  end
  return found
end

core.register_service("caller", "http", function(applet)
  local answer = address_of(applet:get_var("txn.title"))
  applet:set_status(200)
  applet:add_header("content-type", "text/plain")
  applet:add_header("content-length", tostring(#answer))
  applet:start_response()
  applet:send(answer)
end)
