-- Shows what Wireshark leaves undissected in this server's signalling (docs/signalling.md): flow identifications with flow label and
-- binding identifiers (RFC 6089, RFC 6088), and the vendor options of number 32473: transition window, ports, keys.
--
--   tshark -X lua_script:docs/wireshark/flow_mobility.lua -r capture.pcap -V
--
-- Both come in through Wireshark's own tables: mobility options by type, vendor options by number.

local flow = Proto("flowsteer_flow", "Flow Identification")
local vendor = Proto("flowsteer_vendor", "Flow Mobility")

local flow_status = {
  [0] = "done", [128] = "prohibited", [129] = "rejected", [130] = "malformed", [131] = "binding unknown", [132] = "flow unknown",
  [133] = "selector format not supported",
}
local media_names = { [0] = "any", [1] = "audio", [2] = "video", [3] = "text", [4] = "application", [5] = "message" }
local subtypes = {
  [1] = "Transition Window", [2] = "Media Ports", [3] = "Key Parameters", [4] = "Media Expectation", [5] = "Key Grant",
  [6] = "Consent Question",
}
local asked_names = { [1] = "the side that has the flow", [2] = "the device that is to have it", [3] = "a service" }

local F = {
  id = ProtoField.uint16("flowsteer_flow.id", "Flow"),
  priority = ProtoField.uint16("flowsteer_flow.priority", "Priority"),
  status = ProtoField.uint8("flowsteer_flow.status", "Status", base.DEC, flow_status),
  binding = ProtoField.uint16("flowsteer_flow.binding", "Goes to binding"),
  format = ProtoField.uint8("flowsteer_flow.selector_format", "Selector format"),
  label = ProtoField.uint32("flowsteer_flow.label", "Flow label", base.HEX),
  address = ProtoField.ipv6("flowsteer_flow.address", "Address"),
  value = ProtoField.uint32("flowsteer_flow.value", "Value"),
}
flow.fields = F

local V = {
  subtype = ProtoField.uint8("flowsteer_vendor.subtype", "Sub-type", base.DEC, subtypes),
  window = ProtoField.uint32("flowsteer_vendor.window_ms", "Window (ms)"),
  shared = ProtoField.bool("flowsteer_vendor.shared_port", "RTP and RTCP on one port"),
  binding = ProtoField.uint16("flowsteer_vendor.binding", "Binding"),
  flow = ProtoField.uint16("flowsteer_vendor.flow", "Flow"),
  rtp = ProtoField.uint16("flowsteer_vendor.rtp_port", "RTP port"),
  rtcp = ProtoField.uint16("flowsteer_vendor.rtcp_port", "RTCP port"),
  bound = ProtoField.bool("flowsteer_vendor.identity_bound", "Bound to an identity"),
  parent = ProtoField.uint32("flowsteer_vendor.parent_spi", "Parent SPI", base.HEX),
  transfer = ProtoField.uint32("flowsteer_vendor.transfer_id", "Transfer", base.HEX),
  label = ProtoField.uint32("flowsteer_vendor.label", "Flow label", base.HEX),
  ends = ProtoField.uint64("flowsteer_vendor.validity_end", "Ends (seconds since 1970)"),
  source = ProtoField.ipv6("flowsteer_vendor.media_source", "Media source"),
  media = ProtoField.uint8("flowsteer_vendor.media", "Media", base.DEC, media_names),
  payload_type = ProtoField.uint8("flowsteer_vendor.payload_type", "Payload type"),
  spi = ProtoField.uint32("flowsteer_vendor.spi", "SPI", base.HEX),
  asked = ProtoField.uint8("flowsteer_vendor.asked", "Asked", base.DEC, asked_names),
  left = ProtoField.uint32("flowsteer_vendor.left_ms", "Left (ms)"),
}
vendor.fields = V

-- The fields of a traffic selector in their order, from the highest flag on: a name, octets, and how they are shown.
local selector = {
  { "source address", 16 }, { "last source address", 16 }, { "destination address", 16 }, { "last destination address", 16 },
  { "SPI", 4 }, { "last SPI", 4 }, { "flow label", 4, F.label }, { "last flow label", 4, F.label },
  { "source port", 2 }, { "last source port", 2 }, { "destination port", 2 }, { "last destination port", 2 },
  { "traffic class", 1 }, { "last traffic class", 1 }, { "next header", 1 }, { "last next header", 1 },
}

-- Lua 5.2 and 5.4 have no bit operator in common.
local function has_bit(number, bit) return math.floor(number / 2 ^ bit) % 2 == 1 end

local function show_selector(data, tree)
  if data:len() < 1 then return end
  tree:add(F.format, data(0, 1))
  if data(0, 1):uint() ~= 2 or data:len() < 6 then return end
  local flags, at = data(2, 2):uint(), 6
  for index, field in ipairs(selector) do
    if has_bit(flags, 16 - index) then
      local name, octets, shown = field[1], field[2], field[3]
      if at + octets > data:len() then return end
      local range = data(at, octets)
      shown = shown or (octets == 16 and F.address) or F.value
      tree:add(shown, range):prepend_text(name .. ": ")
      at = at + octets
    end
  end
end

-- The option with its type and length before it.
function flow.dissector(option, packet, parent)
  local tree = parent:add(flow, option())
  if option:len() < 8 then return option:len() end
  tree:add(F.id, option(2, 2))
  tree:add(F.priority, option(4, 2))
  tree:add(F.status, option(7, 1))
  local at = 8
  while at < option:len() do
    local kind = option(at, 1):uint()
    if kind == 0 then
      at = at + 1
    else
      if at + 2 > option:len() then break end
      local length = option(at + 1, 1):uint()
      if length > 0 and at + 2 + length <= option:len() then
        local data = option(at + 2, length)
        if kind == 2 then
          for place = 0, length - 2, 2 do tree:add(F.binding, data(place, 2)) end
        elseif kind == 3 then
          show_selector(data, tree)
        end
      end
      at = at + 2 + length
    end
  end
  return option:len()
end

-- From the sub-type on; the two zero octets at the end may be cut off.
local shows = {
  [1] = { 8, function(data, tree) tree:add(V.window, data(4, 4)) end },
  [2] = { 10, function(data, tree)
    tree:add(V.shared, data(1, 1), has_bit(data(1, 1):uint(), 0))
    tree:add(V.binding, data(2, 2)); tree:add(V.flow, data(4, 2)); tree:add(V.rtp, data(6, 2)); tree:add(V.rtcp, data(8, 2))
  end },
  [3] = { 40, function(data, tree)
    tree:add(V.bound, data(1, 1), has_bit(data(1, 1):uint(), 0))
    tree:add(V.parent, data(4, 4)); tree:add(V.transfer, data(8, 4)); tree:add(V.label, data(12, 4))
    tree:add(V.ends, data(16, 8)); tree:add(V.source, data(24, 16))
  end },
  [4] = { 6, function(data, tree)
    tree:add(V.flow, data(2, 2)); tree:add(V.media, data(4, 1)); tree:add(V.payload_type, data(5, 1))
  end },
  [5] = { 16, function(data, tree) tree:add(V.spi, data(4, 4)); tree:add(V.ends, data(8, 8)) end },
  [6] = { 8, function(data, tree) tree:add(V.asked, data(1, 1)); tree:add(V.left, data(4, 4)) end },
}

function vendor.dissector(data, packet, parent)
  local tree = parent:add(vendor, data())
  tree:add(V.subtype, data(0, 1))
  local show = shows[data(0, 1):uint()]
  if show and data:len() >= show[1] then show[2](data, tree) end
  return data:len()
end

DissectorTable.get("mip6.option"):add(45, flow)
DissectorTable.get("mip6.vsm"):add(32473, vendor)
