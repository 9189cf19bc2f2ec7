# What only this node needs.
local_script = done
