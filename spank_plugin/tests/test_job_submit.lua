-- Tests of job_submit.lua: a plain interpreter, and the part of Slurm's Lua interface it uses.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local script = here .. "/../job_submit.lua"
local logged, told

slurm = {
    SUCCESS = 0,
    ERROR = -1,
    log_error = function(...) logged[#logged + 1] = string.format(...) end,
    log_user = function(...) told[#told + 1] = string.format(...) end,
}

local function write_file(text)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    return path
end

-- Loads the script with a table of QPUs written as the site's renderer writes it.
local function load_script(text, path)
    logged, told = {}, {}
    openqse_qpus_path = path or write_file(text)
    slurm_job_submit, slurm_job_modify = nil, nil
    assert(dofile(script) == slurm.SUCCESS)
    if not path then
        os.remove(openqse_qpus_path)
    end
end

local SITE = "return { emu0 = { slots = 4 }, emu1 = { slots = 1 }, alpha = { slots = 2.0 } }"

-- A job as Slurm shows it: the options' variables numbered from 0, nil if there are none.
local function job(qpu, mode, licenses)
    local env = { [0] = "_SLURM_SPANK_OPTION_other_qpu=x", "UNRELATED=1" }
    if qpu then env[#env + 1] = "_SLURM_SPANK_OPTION_openqse_qpu=" .. qpu end
    if mode then env[#env + 1] = "_SLURM_SPANK_OPTION_openqse_qpu_mode=" .. mode end
    return { spank_job_env = env, licenses = licenses }
end

local function equal(actual, expected)
    if actual ~= expected then
        error("is " .. tostring(actual) .. " and should be " .. tostring(expected), 2)
    end
end

local function accepts(job_desc, licenses)
    told = {}
    equal(slurm_job_submit(job_desc, {}, 1000), slurm.SUCCESS)
    equal(job_desc.licenses, licenses)
    equal(#told, 0)
end

local function refuses(job_desc, part)
    local before = job_desc.licenses
    told = {}
    equal(slurm_job_submit(job_desc, {}, 1000), slurm.ERROR)
    equal(job_desc.licenses, before)
    equal(#told, 1)
    equal(told[1]:sub(1, 9), "openqse: ")
    if not told[1]:find(part, 1, true) then
        error("'" .. part .. "' is not in: " .. told[1], 2)
    end
end

-- The table of --qpu values that the plugin and the agents are tested against too.
local function options()
    local rows = {}
    for line in io.lines(here .. "/../../tests/vectors/qpu_options.tsv") do
        if line:sub(1, 1) ~= "#" then
            local value, verdict, what = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)$")
            value = value:gsub("\\x(%x%x)", function(digits)
                return string.char(tonumber(digits, 16))
            end)
            rows[#rows + 1] = { value = value, accepted = verdict == "ok", what = what }
        end
    end
    return rows
end

local tests = {
    { "a job without --qpu is left alone", function()
        load_script(SITE)
        accepts({ licenses = "matlab:2" }, "matlab:2")
        accepts({}, nil)
        accepts(job(nil, nil, "qpu_emu0:1|qpu_emu1"), "qpu_emu0:1|qpu_emu1")
    end },
    { "an option of the first place is found", function()
        load_script(SITE)
        accepts({ spank_job_env = { [0] = "_SLURM_SPANK_OPTION_openqse_qpu=emu0" } }, "qpu_emu0:1")
    end },
    { "names and slots become licenses", function()
        load_script(SITE)
        accepts(job("emu0"), "qpu_emu0:1")
        accepts(job("emu0:4"), "qpu_emu0:4")
        accepts(job("emu1,emu0:2"), "qpu_emu1:1,qpu_emu0:2")
        accepts(job("alpha:2", "shared"), "qpu_alpha:2")
        accepts(job("emu0", nil, ""), "qpu_emu0:1")
    end },
    { "exclusive takes all slots", function()
        load_script(SITE)
        accepts(job("emu0", "exclusive"), "qpu_emu0:4")
        accepts(job("emu0:2,emu1,alpha", "exclusive"), "qpu_emu0:4,qpu_emu1:1,qpu_alpha:2")
    end },
    { "the user's licenses stay", function()
        load_script(SITE)
        accepts(job("emu0", nil, "matlab:2,ansys"), "matlab:2,ansys,qpu_emu0:1")
        accepts(job("emu0", nil, "not_qpu_emu0"), "not_qpu_emu0,qpu_emu0:1")
    end },
    { "licenses that do not go with --qpu are refused", function()
        load_script(SITE)
        refuses(job("emu0", nil, "a:1|b:1"), "alternatives in --licenses (with '|') cannot be")
        refuses(job("emu0", nil, "qpu_emu0:3"), "licenses in --licenses stand for QPUs (qpu_emu0:3)")
        refuses(job("emu0", nil, "a, qpu_emu1"), "ask for these with --qpu alone")
        refuses(job("emu0", nil, "a;qpu_emu1"), "stand for QPUs (qpu_emu1:1)")
    end },
    { "of a heterogeneous job the first component has the licenses", function()
        load_script(SITE)
        local function component(offset)
            local job_desc = job("emu0:2", nil, nil)
            job_desc.het_job_offset = offset
            return job_desc
        end
        accepts(component(0), "qpu_emu0:2")
        accepts(component(1), nil)
        accepts(component(4294967294), "qpu_emu0:2")
    end },
    { "an unknown QPU is refused with the known ones", function()
        load_script(SITE)
        refuses(job("emu0,emu9"), "--qpu=emu0,emu9: this cluster has no QPU 'emu9'; it has "
            .. "alpha (2 slots), emu0 (4 slots), emu1 (1 slot)")
        load_script("return {}")
        refuses(job("emu0"), "it has none")
    end },
    { "more slots than there are are refused", function()
        load_script(SITE)
        refuses(job("emu0:5"), "--qpu=emu0:5: 'emu0' has 4 slots; ask for at most that many")
        refuses(job("emu1:2"), "'emu1' has 1 slot;")
        refuses(job("emu0:5", "exclusive"), "'emu0' has 4 slots")
    end },
    { "values are read and refused as the table says", function()
        local seen = { [true] = 0, [false] = 0 }
        for _, row in ipairs(options()) do
            seen[row.accepted] = seen[row.accepted] + 1
            if row.accepted then
                local site, licenses = {}, {}
                for name, slots in row.what:gmatch("(%S+)=(%d+)") do
                    site[#site + 1] = name .. " = { slots = 65535 }"
                    licenses[#licenses + 1] = "qpu_" .. name .. ":" .. slots
                end
                load_script("return { " .. table.concat(site, ", ") .. " }")
                accepts(job(row.value), table.concat(licenses, ","))
            else
                load_script(SITE)
                refuses(job(row.value), "--qpu=")
                equal(told[1]:find("%c"), nil)
            end
        end
        assert(seen[true] >= 10 and seen[false] >= 40)
    end },
    { "malformed values are refused in words that say what is allowed", function()
        load_script(SITE)
        refuses(job("emu0:0"), "--qpu=emu0:0: slots of 'emu0' must be a whole number from 1 to 65535")
        refuses(job(""), "name at least one QPU")
        refuses(job("emu0,emu0:2"), "'emu0' is named twice")
        refuses(job("emu0", "mine"), "--qpu-mode=mine: the mode is 'shared' or 'exclusive'")
        refuses(job("emu0", ""), "the mode is")
    end },
    { "a name like a method of Lua's tables is unknown", function()
        load_script(SITE)
        refuses(job("__index"), "does not begin with the name")
        refuses(job("insert"), "no QPU 'insert'")
    end },
    { "without a table only jobs with --qpu are refused", function()
        local bad = { "return 7", "return { emu0 = 4 }", "return { emu0 = { slots = 0 } }",
            "return { emu0 = { slots = 1.5 } }", "return { { slots = 1 } }", "not Lua",
            "error('x')", "return { emu0 = { slots = 65536 } }" }
        for _, text in ipairs(bad) do
            load_script(text)
            equal(#logged, 1)
            accepts(job(nil, nil, "a:1"), "a:1")
            refuses(job("emu0"), openqse_qpus_path)
        end
        load_script(nil, "/nonexistent/qpus.lua")
        equal(#logged, 1)
        accepts({}, nil)
        refuses(job("emu0"), "/nonexistent/qpus.lua cannot be used. Ask the administrator to run "
            .. "'openqse site render'")
    end },
    { "a job's QPUs stay what they are", function()
        load_script(SITE)
        local function modify(new, old, uid)
            return slurm_job_modify({ licenses = new }, { licenses = old }, {}, uid)
        end
        equal(modify(nil, "qpu_emu0:2", 1000), slurm.SUCCESS)
        equal(modify("", nil, 1000), slurm.SUCCESS)
        equal(modify("matlab:1;qpu_emu1, qpu_emu0:2", "qpu_emu0:2,qpu_emu1:1", 1000), slurm.SUCCESS)
        for _, new in ipairs { "", "matlab", "qpu_emu0", "qpu_emu0:3", "qpu_emu0:2,qpu_emu1",
                "qpu_emu1:2", "qpu_emu0:2|matlab;qpu_emu0" } do
            told = {}
            equal(modify(new, "qpu_emu0:2", 1000), slurm.ERROR)
            assert(told[1]:find("submit the job again, or ask the administrator", 1, true))
            equal(modify(new, "qpu_emu0:2", 0), slurm.SUCCESS)
        end
        equal(modify("qpu_emu0", nil, 1000), slurm.ERROR)
    end },
    { "a site's own script can call ours", function()
        load_script(SITE)
        local ours = slurm_job_submit
        function slurm_job_submit(job_desc, part_list, submit_uid)
            local rc = ours(job_desc, part_list, submit_uid)
            if rc == slurm.SUCCESS then job_desc.comment = "seen" end
            return rc
        end
        local job_desc = job("emu0")
        accepts(job_desc, "qpu_emu0:1")
        equal(job_desc.comment, "seen")
        refuses(job("emu9"), "no QPU")
    end },
}

local failed = 0
for _, test in ipairs(tests) do
    local passed, problem = pcall(test[2])
    if not passed then
        failed = failed + 1
        print("FAILED job_submit: " .. test[1] .. "\n  " .. tostring(problem))
    end
end
print(string.format("%-12s %d of %d tests passed (%s)", "job_submit", #tests - failed, #tests, _VERSION))
os.exit(failed == 0 and 0 or 1)
