#----------------------------------------------------------------------------------------------------------------------#
# Deploys a node out of its environment: parameters, databases, policies, services, data, schedules.
#    edgelake process $LOCAL_SCRIPTS/main.al
# The steps are files of their own; a step that fails is named, and the node stays up for whoever looks at it.
#----------------------------------------------------------------------------------------------------------------------#
# process $LOCAL_SCRIPTS/main.al

on error ignore
:debug-mode:
if $DEBUG_MODE and $DEBUG_MODE == true or $DEBUG_MODE == True or $DEBUG_MODE == TRUE then set debug on
set exception traceback on

:home:
if $EDGELAKE_PATH then edgelake_path = $EDGELAKE_PATH
else if $EDGELAKE_HOME then edgelake_path = $EDGELAKE_HOME
if !edgelake_path then set anylog home !edgelake_path

:scripts:
if not $LOCAL_SCRIPTS then goto missing-scripts
set local_scripts = $LOCAL_SCRIPTS
is_file = file check !local_scripts/set_params.al
if !is_file == false then goto missing-scripts

:directories:
on error call directories-failed
create work directories

:parameters:
on error goto failed
process !local_scripts/set_params.al
if not !node_type then goto missing-type
set node name !node_name

:services:
on error ignore
run scheduler 1
set echo queue on

:deploy:
on error goto failed
process !local_scripts/connect_dbms.al
process !local_scripts/policies/network.al
if !ledger_conn then process !local_scripts/connect_ledger.al
if !node_type == master or !node_type == query then process !local_scripts/policies/node.al
if !node_type == operator then process !local_scripts/deploy_operator.al
else if !node_type == query then process !local_scripts/deploy_query.al
else if !node_type == master then print "the ledger is at" !ledger_conn
else print "a node of the type" !node_type " has no services of its own"

:monitoring:
on error ignore
if !node_monitoring == true then process !local_scripts/data/monitoring.al
if !enable_mqtt == true then process !local_scripts/data/msg_client.al

:outside:
# what this machine lacks must not stop the deployment
on error call not-there
run mcp server
rest_check = rest get where url = !local_url
run video stream where name = camera and import_display = none and grpc_name = none
on error ignore

:local-script:
if !deploy_local_script == true then
do is_file = file check !local_scripts/local_script.al
do if !is_file == true then process !local_scripts/local_script.al

:done:
deployed = true
print "deployed" !node_type "" !node_name
if !disable_cli == true then set cli off
end script

:not-there:
not_there = incr !not_there
return

:directories-failed:
print "Failed to create the work directories"
return

:missing-scripts:
print "Missing LOCAL_SCRIPTS: the folder of these scripts"
end script

:missing-type:
print "Missing NODE_TYPE: master, operator or query"
end script

:failed:
deployed = false
print "The deployment failed; see: get error log"
end script
