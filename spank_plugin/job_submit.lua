-- Admission of jobs with --qpu: checks the names and slots, and writes the licenses that make
-- the job wait for them. Runs inside slurmctld: no I/O after loading, and never an error raised.
-- Works with Lua 5.1 to 5.4.

-- A site's own script or a test may set this before it loads this file.
local table_path = openqse_qpus_path or "/etc/openqse/qpus.lua"

local OPTION = "_SLURM_SPANK_OPTION_openqse_"
local LICENSE = "qpu_"
local MAX_VALUE, MAX_ITEMS, MAX_NAME, MAX_SLOTS = 1024, 32, 32, 65535

-- The QPUs of the site, { NAME = { slots = N } }; or nil and why not.
local function load_qpus()
    local loaded, qpus = pcall(dofile, table_path)
    if not loaded then
        return nil, tostring(qpus)
    end
    if type(qpus) ~= "table" then
        return nil, table_path .. " does not return a table"
    end
    for name, qpu in pairs(qpus) do
        local slots = type(qpu) == "table" and qpu.slots
        if type(name) ~= "string" or type(slots) ~= "number" or slots < 1
            or slots > MAX_SLOTS or slots % 1 ~= 0 then
            return nil, table_path .. ": the entry " .. tostring(name) .. " is not { slots = N }"
        end
    end
    return qpus
end

local qpus, load_error = load_qpus()
if not qpus then
    slurm.log_error("openqse: jobs with --qpu are refused: %s", load_error)
end

-- What a user wrote must not steer the terminal that shows it.
local function refuse(message)
    slurm.log_user("%s", "openqse: " .. message:gsub("%c", "?"))
    return slurm.ERROR
end

-- Values of the plugin's options by name. Slurm spells '-' in an option's name '_', and numbers
-- the entries of spank_job_env from 0.
local function read_options(job_desc)
    local options = {}
    for _, entry in pairs(job_desc.spank_job_env or {}) do
        local name, value = entry:match("^" .. OPTION .. "([a-z_]+)=(.*)$")
        if name then
            options[name] = value
        end
    end
    return options
end

local function split(text)
    local items = {}
    for item in (text .. ","):gmatch("([^,]*),") do
        items[#items + 1] = item
    end
    return items
end

-- The list's QPUs, { { name = NAME, slots = N }, ... } in its order; or nil and what is malformed.
-- The plugin refuses the same before submission, but an old or hand-made client need not have it.
local function parse_qpus(value)
    if value == "" then
        return nil, "name at least one QPU, as in --qpu=emu0 or --qpu=emu0:2,emu1"
    end
    if #value > MAX_VALUE then
        return nil, "the value is longer than " .. MAX_VALUE .. " bytes"
    end
    local items = split(value)
    if #items > MAX_ITEMS then
        return nil, "at most " .. MAX_ITEMS .. " QPUs may be named"
    end
    local wanted, seen = {}, {}
    for _, item in ipairs(items) do
        local name, rest = item:match("^([A-Za-z][A-Za-z0-9_]*)(.*)$")
        if not name or #name > MAX_NAME then
            return nil, "'" .. item .. "' does not begin with the name of a QPU (a letter, then "
                .. "letters, digits or underscores, at most " .. MAX_NAME .. ")"
        end
        local slots = 1
        if rest ~= "" then
            local digits = rest:match("^:([1-9]%d*)$")
            slots = digits and #digits <= 5 and tonumber(digits)
            if not slots or slots > MAX_SLOTS then
                return nil, "slots of '" .. name .. "' must be a whole number from 1 to "
                    .. MAX_SLOTS
            end
        end
        if seen[name] then
            return nil, "'" .. name .. "' is named twice"
        end
        seen[name] = true
        wanted[#wanted + 1] = { name = name, slots = slots }
    end
    return wanted
end

local function plural(slots)
    return string.format(slots == 1 and "%d slot" or "%d slots", slots)
end

local function describe_known()
    local names = {}
    for name in pairs(qpus) do
        names[#names + 1] = name
    end
    table.sort(names)
    for i, name in ipairs(names) do
        names[i] = name .. " (" .. plural(qpus[name].slots) .. ")"
    end
    return #names > 0 and table.concat(names, ", ") or "none"
end

-- Those of a list of licenses that stand for QPUs, sorted, as one text.
local function qpu_licenses(licenses)
    local found = {}
    for license in (licenses or ""):gmatch("[^,;|]+") do
        local name, count = license:match("^%s*(" .. LICENSE .. "[^:%s]*):?(%d*)")
        if name then
            found[#found + 1] = name .. ":" .. (count == "" and "1" or count)
        end
    end
    table.sort(found)
    return table.concat(found, ",")
end

-- The licenses of the QPUs after those the user asked for; or nil and why they do not go together.
local function combine_licenses(asked, wanted)
    local licenses = {}
    if asked and asked ~= "" then
        if asked:find("|", 1, true) then
            return nil, "alternatives in --licenses (with '|') cannot be combined with --qpu"
        end
        local of_qpus = qpu_licenses(asked)
        if of_qpus ~= "" then
            return nil, "licenses in --licenses stand for QPUs (" .. of_qpus .. "); ask for these "
                .. "with --qpu alone"
        end
        licenses[1] = asked
    end
    for _, qpu in ipairs(wanted) do
        licenses[#licenses + 1] = string.format("%s%s:%d", LICENSE, qpu.name, qpu.slots)
    end
    return table.concat(licenses, ",")
end

-- Whether the job is a later component of a heterogeneous job: slurmctld takes licenses for the
-- first one only, and the plugin sees to it that the QPUs are named there.
local function is_later_component(job_desc)
    local offset = job_desc.het_job_offset
    return offset and offset > 0 and offset < 0xfffffffe -- Slurm's NO_VAL: no component
end

function slurm_job_submit(job_desc, part_list, submit_uid)
    local options = read_options(job_desc)
    local value, mode = options.qpu, options.qpu_mode
    if not value or is_later_component(job_desc) then
        return slurm.SUCCESS
    end
    local shown = "--qpu=" .. value:sub(1, 200) .. ": "
    if not qpus then
        return refuse(shown .. "this cluster does not know its QPUs: " .. table_path
            .. " cannot be used. Ask the administrator to run 'openqse site render' and to "
            .. "restart slurmctld")
    end
    local wanted, malformed = parse_qpus(value)
    if not wanted then
        return refuse(shown .. malformed)
    end
    if mode and mode ~= "shared" and mode ~= "exclusive" then
        return refuse("--qpu-mode=" .. mode:sub(1, 64)
            .. ": the mode is 'shared' or 'exclusive'")
    end
    for _, qpu in ipairs(wanted) do
        local known = qpus[qpu.name]
        if not known then
            return refuse(shown .. "this cluster has no QPU '" .. qpu.name .. "'; it has "
                .. describe_known())
        end
        if qpu.slots > known.slots then
            return refuse(shown .. "'" .. qpu.name .. "' has " .. plural(known.slots)
                .. "; ask for at most that many")
        end
        if mode == "exclusive" then
            qpu.slots = known.slots
        end
    end
    local licenses, clash = combine_licenses(job_desc.licenses, wanted)
    if not licenses then
        return refuse(shown .. clash)
    end
    job_desc.licenses = licenses
    return slurm.SUCCESS
end

-- A job that gave its QPUs' licenses back, or others', would go on using slots that slurmctld
-- gives to the next one.
function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
    if job_desc.licenses and modify_uid ~= 0
        and qpu_licenses(job_desc.licenses) ~= qpu_licenses(job_rec.licenses) then
        return refuse("the licenses that a job's QPUs are counted by (" .. LICENSE .. "...) stay "
            .. "as --qpu made them: submit the job again, or ask the administrator")
    end
    return slurm.SUCCESS
end

return slurm.SUCCESS
