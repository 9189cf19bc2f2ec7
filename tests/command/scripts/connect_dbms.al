#----------------------------------------------------------------------------------------------------------------------#
# Databases: the user's, one for what was processed, one for queries.
#----------------------------------------------------------------------------------------------------------------------#
# process !local_scripts/connect_dbms.al

on error goto connect-failed
if !node_type == master then goto ledger
if !node_type == query then goto system-query
<if !db_type == psql then connect dbms !default_dbms where
    type = !db_type and
    user = !db_user and
    ip = !db_ip and
    port = !db_port and
    autocommit = !autocommit>
else connect dbms !default_dbms where type = sqlite

:almgm:
connect dbms almgm where type = sqlite
# of a node that was here before, the table is there
is_table = info table almgm tsd_info exists
if !is_table == false then create table tsd_info where dbms = almgm

:partitions:
if !enable_partitions == false then goto system-query
on error goto partition-failed
partition !default_dbms !table_name using !partition_column by !partition_interval
<schedule time = !partition_sync and
    name = "Drop Partitions" task drop partition where dbms = !default_dbms and table = !table_name and keep = !partition_keep>

:system-query:
on error goto connect-failed
connect dbms system_query where type = sqlite and memory = true

:done:
end script

:ledger:
connect dbms blockchain where type = sqlite
is_table = info table blockchain ledger exists
if !is_table == false then create table ledger where dbms = blockchain
goto system-query

:partition-failed:
print "Failed to declare partitions of" !default_dbms
goto system-query

:connect-failed:
print "Failed to connect the databases"
deploy_error = connect_dbms
end script
