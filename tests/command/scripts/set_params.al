#----------------------------------------------------------------------------------------------------------------------#
# Parameters of the node: defaults, then what the environment says. Empty variables of the environment count as unset.
#----------------------------------------------------------------------------------------------------------------------#
# process !local_scripts/set_params.al

on error ignore
not_there = 0

:required:
if $NODE_TYPE then node_type = $NODE_TYPE.name
company_name = "New Company"
if $COMPANY_NAME then company_name = $COMPANY_NAME
node_name = edge-node
if $NODE_NAME then node_name = $NODE_NAME.name
hostname = get hostname
set default_dbms = test
if $DEFAULT_DBMS then set default_dbms = $DEFAULT_DBMS

:place:
loc = 0.0,0.0
country = Unknown
if $LOCATION then loc = $LOCATION
if $COUNTRY then country = $COUNTRY
if $CITY then set city = $CITY

:ledger:
if $LEDGER_CONN then ledger_conn = $LEDGER_CONN
blockchain_source = master
blockchain_sync = 30 second
if $BLOCKCHAIN_SYNC then blockchain_sync = $BLOCKCHAIN_SYNC

:network:
<if !node_type == operator then
    anylog_server_port = 32148>
else if !node_type == master then anylog_server_port = 32048
else anylog_server_port = 32348
tcp_bind = false
tcp_threads = 6
if $ANYLOG_SERVER_PORT then anylog_server_port = $ANYLOG_SERVER_PORT
if $TCP_BIND == true or $TCP_BIND == True or $TCP_BIND == TRUE then tcp_bind = true
if $TCP_THREADS then tcp_threads = $TCP_THREADS
<if !node_type == operator then
    default_rest_port = 32149>
else default_rest_port = 32349
anylog_rest_port = !default_rest_port
if $ANYLOG_REST_PORT then anylog_rest_port = $ANYLOG_REST_PORT
rest_bind = false
if $REST_BIND and $REST_BIND == true or $REST_BIND == True or $REST_BIND == TRUE then rest_bind = true
rest_threads = 6
rest_timeout = 30
if $REST_THREADS then rest_threads = python int($REST_THREADS)
if $OVERLAY_IP then overlay_ip = $OVERLAY_IP
local_url = "http://127.0.0.1:" + !anylog_rest_port + "/health"

:database:
db_type = sqlite
if $DB_TYPE == psql then db_type = psql
autocommit = false

:operator:
cluster_name = !node_name + -cluster
if $CLUSTER_NAME then cluster_name = $CLUSTER_NAME
operator_threads = 3
if $OPERATOR_THREADS then operator_threads = $OPERATOR_THREADS
if $IS_MAIN == true then is_main = true
threshold_time = 60 seconds
threshold_volume = 100KB
write_immediate = false
if $THRESHOLD_TIME then threshold_time = $THRESHOLD_TIME
if $THRESHOLD_VOLUME then threshold_volume = $THRESHOLD_VOLUME
if $WRITE_IMMEDIATE == true then write_immediate = true

:partitions:
enable_partitions = true
table_name = "*"
partition_column = insert_timestamp
partition_interval = 14 days
partition_keep = 3
partition_sync = 1 day
if $ENABLE_PARTITIONS == false then enable_partitions = false
if $PARTITION_COLUMN then partition_column = $PARTITION_COLUMN
if $PARTITION_INTERVAL then partition_interval = $PARTITION_INTERVAL

:data:
if $ENABLE_MQTT == true then enable_mqtt = true
msg_topic = readings
msg_table = mqtt_readings
if $MSG_TOPIC then msg_topic = $MSG_TOPIC
node_monitoring = false
if $NODE_MONITORING == true then node_monitoring = true
if $DEPLOY_LOCAL_SCRIPT == true then deploy_local_script = true
if $DISABLE_CLI == true then disable_cli = true
