#----------------------------------------------------------------------------------------------------------------------#
# Cluster and operator policies of this node, each made once.
#----------------------------------------------------------------------------------------------------------------------#
# process !local_scripts/policies/operator.al

on error ignore
attempts = 0

:cluster:
cluster_id = blockchain get cluster where company = !company_name and name = !cluster_name bring.first [*][id]
if !cluster_id then goto operator
attempts = incr !attempts
if !attempts.int > 2 then goto failed
new_policy = create policy cluster where company = !company_name and name = !cluster_name
on error goto failed
<if !ledger_conn then
    blockchain insert where policy = !new_policy and local = true and master = !ledger_conn>
else blockchain insert where policy = !new_policy and local = true
on error ignore
goto cluster

:operator:
attempts = 0

:find-operator:
operator_id = blockchain get operator where company = !company_name and name = !node_name bring.first [*][id]
if !operator_id then end script
attempts = incr !attempts
if !attempts.int > 2 then goto failed

set policy new_operator [operator] = {}
set policy new_operator [operator][name] = !node_name
set policy new_operator [operator][company] = !company_name
set policy new_operator [operator][hostname] = !hostname
<if !overlay_ip then
    set policy new_operator [operator][ip] = !overlay_ip>
else set policy new_operator [operator][ip] = !ip
set policy new_operator [operator][port] = !anylog_server_port.int
set policy new_operator [operator][rest_port] = !anylog_rest_port.int
set policy new_operator [operator][cluster] = !cluster_id
set policy new_operator [operator][loc] = !loc
set policy new_operator [operator][country] = !country
if !city then set policy new_operator [operator][city] = !city
# without "=" this line is wrong, and passed over
set policy new_operator [operator][branch]

:main:
if !is_main then
do set policy new_operator [operator][main] = !is_main.bool
else
do others = blockchain get operator where cluster = !cluster_id bring.count
do if not !others or !others.int == 0 then set policy new_operator [operator][main] = true
do else set policy new_operator [operator][main] = false

:sign:
on error ignore
new_operator = id sign !new_operator where key = !private_key and password = !node_password

on error goto failed
<if !ledger_conn then
    blockchain insert where policy = !new_operator and local = true and master = !ledger_conn>
else blockchain insert where policy = !new_operator and local = true
on error ignore
new_operator = ""
goto find-operator

:failed:
print "Failed to declare the cluster or the operator"
deploy_error = operator
end script
