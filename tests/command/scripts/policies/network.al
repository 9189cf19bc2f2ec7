#----------------------------------------------------------------------------------------------------------------------#
# The node's own configuration as a policy, and the services that it names.
# Values in single quotes stay as they are: they are resolved when the policy is applied.
#----------------------------------------------------------------------------------------------------------------------#
# process !local_scripts/policies/network.al

on error ignore
set create_config = false
config_name = !node_name + -config

:check-policy:
config_id = blockchain get config where company = !company_name and name = !config_name bring [*][id]
if !config_id then goto apply
if !create_config == true then goto declare-failed

:create-policy:
new_policy = ""
<new_policy = {
    "config": {
        "name": !config_name,
        "company": !company_name,
        "node_type": !node_type,
        # ports are numbers, addresses are found out at each start
        "port": '!anylog_server_port.int',
        "rest_port": '!anylog_rest_port.int',
        "threads": !rest_threads.int
    }
}>
if !overlay_ip then set policy new_policy [config][rest_ip] = '!overlay_ip'
else set policy new_policy [config][rest_ip] = '!ip'
if !overlay_ip then set policy new_policy [config][ip] = '!overlay_ip'
else set policy new_policy [config][ip] = '!ip'
set policy new_policy [config][tcp_bind] = '!tcp_bind'
set policy new_policy [config][tcp_threads] = '!tcp_threads.int'
set policy new_policy [config][rest_bind] = '!rest_bind'
set policy new_policy [config][rest_threads] = '!rest_threads.int'
set policy new_policy [config][rest_timeout] = '!rest_timeout.int'
set policy new_policy [config][script] = []
if !node_type == operator then
do set policy new_policy [config][script] + "set buffer threshold where time = !threshold_time and volume = !threshold_volume and write_immediate = !write_immediate"
do set policy new_policy [config][script] + "run streamer"
set policy new_policy [config][script] + "config_applied = true"

is_policy = json !new_policy test
if !is_policy == false then goto declare-failed

:publish:
on error goto declare-failed
blockchain prepare policy !new_policy
blockchain insert where policy = !new_policy and local = true
set create_config = true
goto check-policy

:apply:
on error goto apply-failed
config from policy where id = !config_id
end script

:declare-failed:
print "Failed to declare the configuration" !config_name
deploy_error = network
end script

:apply-failed:
print "Failed to apply the configuration" !config_id
deploy_error = network
end script
