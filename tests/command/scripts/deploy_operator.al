#----------------------------------------------------------------------------------------------------------------------#
# An operator: its policies, then the service.
#----------------------------------------------------------------------------------------------------------------------#
# process !local_scripts/deploy_operator.al

on error goto failed
process !local_scripts/policies/operator.al
if not !operator_id then goto failed

<if !ledger_conn then run operator where
    policy = !operator_id and
    create_table = true and
    update_tsd_info = true and
    compress_json = true and
    compress_sql = true and
    archive_json = true and
    archive_sql = false and
    master_node = !ledger_conn and
    threads = !operator_threads>
<else run operator where
    policy = !operator_id and
    create_table = true and
    update_tsd_info = true and
    compress_json = true and
    compress_sql = true and
    archive_json = true and
    archive_sql = false and
    threads = !operator_threads>

on error ignore
run blobs archiver where dbms = false and folder = true and compress = false and reuse_blobs = true
schedule name = "Remove Archive" and time = 1 day and start = +1d task delete archive where days = 30

# tables that are there get a buffer of their own
thresholds = 0
tables = ["sensors", "meters"]
for loop start where list = !tables
  table = !tables[+]
  set buffer threshold where dbms = !default_dbms and table = !table and time = 1 second and volume = 1MB
  thresholds = incr !thresholds
for loop end

operator_started = true
end script

:failed:
print "Failed to start the operator"
deploy_error = deploy_operator
exit scripts
