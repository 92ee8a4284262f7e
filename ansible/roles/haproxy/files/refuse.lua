-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Answers a refused A-ASSOCIATE-RQ with an A-ASSOCIATE-RJ (PS3.8 9.3.4), so that the caller's own log shows the reason.

-- Result (1 permanent, 2 transient), source (1 service user, 3 presentation layer), reason.
local answers = {
  ["called-title-unknown"] = "\1\1\7",
  ["caller-unknown"] = "\1\1\3",
  ["caller-outside-its-networks"] = "\1\1\3",
  ["too-many-associations"] = "\2\3\2",
  ["too-many-bytes"] = "\2\3\2",
  ["slots-kept-for-others"] = "\2\3\2",
  ["no-service"] = "\2\3\1",
}

core.register_service("refuse", "tcp", function(applet)
  local answer = answers[applet:get_var("sess.refused")] or "\1\1\1"
  applet:send("\3\0\0\0\0\4\0" .. answer)
end)
