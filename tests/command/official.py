"""Every command form of the official deployment scripts, and the commands of a single node.

Each case: the phrase that must be found, and a line of the form. Source: spec "Command language", section 15.
"""

from __future__ import annotations

LANGUAGE = [
    ("set policy", "set policy new_policy [operator] = {} and [operator][port] = !port.int and [operator][script] + x"),
    ("set policy", "set policy new_policy [config][rest_ip] = '!external_ip' and [config][threads] = !t.int"),
    ("set policy", "set policy new_policy [operator][branch]"),
    ("if", 'if !x and $Y == true then set z = "a b"'),
    ("if", "if not !x or !y.int < 3 then"),
    ("if", "if $X and $X == true or $X == True or $X == TRUE then debug_mode = true"),
    ("else", "else if $X == psql then goto psql"),
    ("else", "else"),
    ("do", "do on error call missing"),
    ("do", "do else print no"),
    ("goto", "goto set-params"),
    ("return", "return"),
    ("on error goto", "on error goto failed"),
    ("on error call", "on error call failed"),
    ("on error ignore", "on error ignore"),
    ("on error end script", "on error end script"),
    ("end script", "end script"),
    ("exit scripts", "exit scripts"),
    ("process", "process !local_scripts/policies/node_policy.al"),
    ("process", 'process !local_scripts + "/" + !name + ".al"'),
    ("thread", "thread !local_scripts/monitor.al"),
    ("echo", "echo Node !node_name is up"),
    ("print", 'print "missing value for " !key'),
    ("json", "is_policy = json !new_policy test"),
    ("json", "new_policy = json !new_policy"),
    ("from", "node_id = from !policy bring [operator][id]"),
    ("python", "x = python !name.replace(' ', '-')"),
    ("python", "x = python '!a,b'.split(',')[0]"),
    ("system", "system timeout = 10 hostname -I"),
    ("system", "ip = system hostname -I"),
    ("wait", "wait 10"),
    ("wait", "r = wait 10 for !x.len == 3"),
    ("wait", "wait 10 for sync"),
    ("continuous", "continuous 10 get cpu usage, get streaming"),
    ("for loop start", "for loop start where list = !tables"),
    ("for loop end", "for loop end"),
    ("schedule", "schedule name = cpu and time = 15 seconds and task cpu = get node info cpu_percent"),
    ("schedule", "schedule name = cpu and time = 15 seconds task cpu = get node info cpu_percent"),
    ("schedule", "schedule time = 1 day and name = remove_archive and start = +1d task delete archive where days = 3"),
    ("schedule", "schedule name = ping and time = !frequency and scheduler = 1 and task set servers ping"),
    ("task stop", "task stop where scheduler = 1 and id = 2"),
    ("task remove", "task remove where scheduler = 1 and name = cpu"),
    ("task run", "task run where scheduler = 1 and name = cpu"),
    ("task init", "task init where scheduler = 1 and name = cpu and start = +1d"),
    ("run client", "run client (!ledger_conn) blockchain insert where policy = !new_policy"),
    ("run client", "status{} = run client (operator where company = x) get status"),
    ("run client", "run client 10.0.0.1:32048 event log"),
    ("run client", "run client () sql d format = table 'select 1'"),
    ("run client", "run client (blockchain get operator bring.ip_port, subset = true, timeout = 10) get status"),
    ("trace level", "trace level = 1 run client"),
    ("trace level", "trace level = !trace_level tcp"),
]

NODE = [
    ("create work directories", "create work directories"),
    ("reset error log", "reset error log"),
    ("get hostname", "hostname = get hostname"),
    ("get version", "version = get version"),
    ("get platforms", "get platforms"),
    ("get processes", "get processes"),
    ("get processes", "get processes where format = json"),
    ("run streamer", "run streamer"),
    ("run scheduler", "run scheduler 1"),
    ("set anylog home", "set anylog home !anylog_path"),
    ("set node name", "set node name !node_name"),
    ("set cli", "set cli off"),
    ("set debug", "set debug on"),
    ("set debug", "set debug interactive"),
    ("set exception traceback", "set exception traceback on"),
    ("set exception traceback", "set exception traceback off"),
    ("set echo queue", "set echo queue on"),
    ("set internal ip", "set internal ip with eth0"),
    ("get connections", "conn = get connections where format=json"),
    ("get datetime", "start = get datetime local now()"),
    ("get datetime", "t = get datetime utc now() - 1 day"),
    ("get disk", "disk = get disk percentage /"),
    ("get node info", "cpu = get node info cpu_percent"),
    *(
        ("get node info", f"n = get node info net_io_counters {field}")
        for field in ("packets_recv", "packets_sent", "errin", "errout")
    ),
    ("get stats", "op = get stats where service = operator and topic = summary and format = json"),
    ("config from policy", "config from policy where id = !policy_id"),
    ("file test", "is_file = file test !local_scripts/start.al"),
    ("file check", "is_file = file check !local_scripts/start.al"),
    ("run tcp server", "run tcp server where external_ip = !ip and external_port = !port and threads = 3"),
    (
        "run tcp server",
        "run tcp server where external_ip=!ip and external_port=!port and internal_ip=!ip and internal_port=!port "
        "and bind=true and threads=6",
    ),
    (
        "run rest server",
        "run rest server where external_ip=!ip and external_port=!port and internal_ip=!ip and internal_port=!port "
        "and bind=false and threads=6 and timeout=30 and ssl=false",
    ),
    (
        "run message broker",
        "run message broker where external_ip=!ip and external_port=!p and internal_ip=!ip and internal_port=!p "
        "and bind=true and threads=6",
    ),
    ("run smtp client", "run smtp client where email = a@b and password = x"),
    ("run mcp server", "run mcp server"),
    ("exit node", "exit node"),
    *(("exit tcp", "exit tcp"), ("exit rest", "exit rest"), ("exit broker", "exit broker")),
]

METADATA = [
    ("blockchain reload metadata", "blockchain reload metadata"),
    ("blockchain prepare policy", "blockchain prepare policy !new_policy"),
    ("blockchain connect to", "blockchain connect to ethereum where provider = !provider"),
    ("blockchain connect to", "blockchain connect to optimism where provider = 'https://x/y?z=1' and gas_write = 1"),
    ("blockchain deploy contract", "c = blockchain deploy contract where platform = ethereum and public_key = !key"),
    (
        "blockchain set account info",
        "blockchain set account info where platform = x and private_key = !k and public_key = !p and chain_id = !c",
    ),
    ("blockchain set account info", "blockchain set account info where platform = x and contract = !contract"),
    ("blockchain get", "p = blockchain get operator where company = !company and name = !name bring.first [*][id]"),
    ("blockchain get", "p = blockchain get (master, operator) where local_port = !p.int bring.ip_port"),
    ("blockchain get", "n = blockchain get * bring.count"),
    ("blockchain get", "blockchain get cluster bring.unique [cluster][name] separator = ,"),
    ("blockchain get", "p = blockchain get config where id = !id bring.last"),
    ("blockchain insert", "blockchain insert where policy = !new_policy and local = true"),
    ("blockchain insert", "blockchain insert where policy = !p and local = true and master = !ledger_conn"),
    ("blockchain insert", "blockchain insert where policy = !p and local = true and blockchain = !platform"),
    ("create policy", "new_policy = create policy master with defaults where company = !company"),
    (
        "create policy",
        "new_policy = create policy cluster where company = !c and name = !n and dbms = !d and table = t",
    ),
    ("run blockchain sync", "run blockchain sync where source=master and time=!t and dest=file and connection=!conn"),
    ("run blockchain sync", "run blockchain sync where source=blockchain and platform=!p and time=!t and dest=file"),
    ("run blockchain sync", "run blockchain sync"),
    ("get synchronizer", "get synchronizer"),
    ("id sign", "new_policy = id sign !new_policy where key = !private_key and password = !node_password"),
    ("get private key", "private_key = get private key where keys_file = !keys_file"),
]

DATA = [
    ("connect dbms", "connect dbms !dbms where type = sqlite"),
    ("connect dbms", "connect dbms system_query where type = sqlite and memory = true"),
    (
        "connect dbms",
        "connect dbms d where type = psql and user = !u and ip = !ip and port = !p and password = !w "
        "and autocommit = false and unlog = true",
    ),
    ("connect dbms", "connect dbms blobs_d where type = mongo and ip = !ip and port = !p and user = !u"),
    ("connect dbms", "connect dbms blobs_d where type = bucket and connection = g"),
    ("create table", "create table ledger where dbms = blockchain"),
    ("create table", "create table tsd_info where dbms = almgm"),
    ("info table", "is_table = info table blockchain ledger exists"),
    ("partition", "partition !dbms * using insert_timestamp by 14 days"),
    ("partition", "partition d t using timestamp by day"),
    ("drop partition", 'drop partition where dbms = d and table = "*" and keep = 3'),
    ("drop partition", "drop partition par_t_2026_01_d14_x where dbms = d and table = t"),
    ("delete archive", "delete archive where days = !archive_delete"),
    ("stream", "stream !node_insight where dbms = monitoring and table = node_insight"),
    ("monitor", "monitor operators where info = !node_insight"),
    ("set buffer threshold", "set buffer threshold where time = !t and volume = !v and write_immediate = true"),
    (
        "set buffer threshold",
        "set buffer threshold where dbms = d and table = t and time = 60 seconds and volume = 1KB",
    ),
    ("run operator", "run operator where policy = !operator_id"),
    (
        "run operator",
        "run operator where create_table=true and update_tsd_info=true and compress_json=true and "
        "compress_sql=true and archive_json=true and archive_sql=false and master_node=!conn and policy=!id "
        "and threads=!n",
    ),
    ("run operator", "run operator where policy = !id and blockchain = optimism and craete_table = true"),
    (
        "run blobs archiver",
        "run blobs archiver where dbms=false and folder=true and compress=false and reuse_blobs=true",
    ),
    ("run data consumer", "run data consumer where start_date = -30d"),
    ("run data distributor", "run data distributor"),
    ("set data distribution", "set data distribution where dbms = d and table = t and dest = 10.0.0.1:32148"),
    ("get operator", "get operator"),
    ("get operator", "get operator inserts where format = json"),
    ("get blobs archiver", "get blobs archiver"),
    (
        "bucket provider connect",
        "bucket provider connect where group = !g and provider = !p and id = !i and region = !r",
    ),
    (
        "bucket provider connect",
        "bucket provider connect where group=!g and provider=!p and id=!i and access_key=!a and secret_key=!s and "
        "region=!r and endpoint_url='https://x:1'",
    ),
    ("set aggregation", "set aggregation where dbms = d and table = t and intervals = 10 and time = 1 minute"),
    ("set aggregation encoding", "set aggregation encoding where dbms = d and table = t and encoding = bounds"),
    ("set aggregation ingest", "set aggregation ingest where dbms = d and table = t and source = true"),
]

DEVICES = [
    ("get msg client", "get msg client"),
    ("get local broker", "get local broker"),
    (
        "run msg client",
        "run msg client where broker = rest and port = !p and user-agent = anylog and log = false and topic = "
        '(name = !t and dbms = !d and table = "bring [table]" and column.timestamp.timestamp = "bring [ts]")',
    ),
    (
        "run msg client",
        "run msg client where broker=local and port=!p and log=false and topic=(name=a and policy=!id) and "
        "topic=(name=b and dynamic=true)",
    ),
    (
        "run msg client",
        "run msg client where broker=!broker and port=!p and user=!u and password=!w and log=false and master_node=!m "
        "and topic=(name=!t and dbms=!d and table=!n and column.value=(type=float and value='bring [value]'))",
    ),
    ("run kafka consumer", "run kafka consumer where ip = !ip and port = !p and reset = latest and topic = (name = t)"),
    ("run kafka consumer", "run kafka consumer where ip = !ip and port = !p and topic = (name = t and policy = !id)"),
    ("run grpc client", "run grpc client where name = kube and ip = !ip and port = !port and value = (Filter = all)"),
    (
        "run grpc client",
        "run grpc client where name=k and ip=!ip and port=!p and grpc_dir=!d and proto=k and function=Get and "
        "request=R and response=S and service=V and value=!v and policy=!id and dbms=d and table=t and ingest=false "
        "and debug=false and limit=0 and invoke=true",
    ),
    (
        "run scheduled pull",
        "run scheduled pull where name = d and type = docker and frequency = 5 and continuous = true and dbms = d "
        "and table = t",
    ),
    ("get opcua struct", "get opcua struct where url=!opcua_url and node=!opcua_node and dbms=!dbms and format=policy"),
    (
        "get opcua struct",
        "get opcua struct where url=!u and node=!n and dbms=d and class=variable and format=run_client and schema=true "
        "and target=x and output=!file and frequency=10 and name=c and user=u and password=p",
    ),
    ("run video stream", "run video stream where name = v and import_display = f and grpc_name = g"),
    ("video connect", "video connect where name = v and protocol = rtsp and interface = opencv and address = !a"),
    ("import function", "import function where import_name = f and lib = external_lib.frame and method = imshow"),
    ("set function params", "set function params where import_name = f and param_name = p and param_value = v"),
    (
        "set function params",
        "set function params where import_name = f and param_name = p and param_type = int and param_value = 3",
    ),
    (
        "set msg rule",
        "set msg rule kbrules if ip = 139.162.164.95 then dbms = test and table = syslog and syslog = true",
    ),
    (
        "set msg rule",
        "set msg rule r if ip = !ip and port = 514 and header = al.sl then dbms = d and table = t and extend = ip "
        "and topic = x",
    ),
    ("rest get", "reply = rest get where url = !url"),
    ("rest put", "rest put where url = !url and dbms = d and table = t and body = !row"),
]

# Commands that a node without peers has.
SINGLE_NODE = [
    ("get rest server info", "get rest server info"),
    ("get rest calls", "get rest calls"),
    ("get rest pool", "get rest pool where details = true"),
    ("get streaming", "get streaming"),
    ("get rows count", "get rows count where dbms = d and table = t and group = partition"),
    ("get tables", "get tables where dbms = d"),
    ("get columns", "get columns where dbms = d and table = t and format = json"),
    ("get partitions", "get partitions where dbms = d"),
    ("get databases", "get databases"),
    ("flush buffers", "flush buffers"),
    ("get archived files", "get archived files 2026-01-01"),
    ("time file new", "time file new !file"),
    ("set durability", "set durability where dbms = d and table = t and level = fast"),
    ("get status", "get status where format = json and include = !x"),
    ("get dictionary", "get dictionary _dir"),
    ("get memory info", "get memory info"),
    ("get cpu info", "get cpu info"),
    ("get cpu usage", "get cpu usage where format = json"),
    ("get platform info", "get platform info"),
    ("test node", "test node"),
    ("exit operator", "exit operator"),
    ("sql", 'sql d format = table "select count(*) from t"'),
    (
        "sql",
        "sql d format=json and stat=false and timezone=utc select min(value) from t where timestamp > now() - 1 day",
    ),
    ("get datetime", "get datetime Europe/Berlin date()"),
    ("help", "help index script"),
]

OFFICIAL = [*LANGUAGE, *NODE, *METADATA, *DATA, *DEVICES, *SINGLE_NODE]
