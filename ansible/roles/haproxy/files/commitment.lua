-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Tells whether a request for an association proposes the push model of storage commitment (ADR 57). In Lua, because an
-- expression of HAProxy takes a request as text, which ends at its first zero.

-- As an abstract syntax: the item of its transfer syntaxes follows, whose type is 40 (DICOM PS3.8 9.3.2.2).
local push_model = "1.2.840.10008.1.20.1" .. string.char(0x40)

core.register_fetches("proposes_commitment", function(txn)
  local request = txn.f:req_payload(0, 0)
  return request ~= nil and request:find(push_model, 1, true) ~= nil
end)
