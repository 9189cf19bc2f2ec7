#----------------------------------------------------------------------------------------------------------------------#
# The policy of a master or a query node, made once.
#----------------------------------------------------------------------------------------------------------------------#
# process !local_scripts/policies/node.al

on error ignore
attempts = 0
if not !ledger_conn then end script

:find:
node_id = blockchain get !node_type where company = !company_name and name = !node_name bring.first [*][id]
if !node_id then end script
attempts = incr !attempts
if !attempts.int > 2 then goto failed

set policy new_node [!node_type] = {}
set policy new_node [!node_type][name] = !node_name
set policy new_node [!node_type][company] = !company_name
set policy new_node [!node_type][hostname] = !hostname
<if !overlay_ip then
    set policy new_node [!node_type][ip] = !overlay_ip>
else set policy new_node [!node_type][ip] = !ip
set policy new_node [!node_type][port] = !anylog_server_port.int
set policy new_node [!node_type][rest_port] = !anylog_rest_port.int

on error goto failed
blockchain insert where policy = !new_node and local = true and master = !ledger_conn
on error ignore
goto find

:failed:
print "Failed to declare the node"
deploy_error = node
end script
